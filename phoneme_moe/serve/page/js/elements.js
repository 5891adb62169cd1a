// Elements of the page, made without HTML text, so that no name can become markup.

export const byId = (id) => document.getElementById(id);

/** An element with properties, attributes (with a hyphen, or aria) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else if (name === "style") Object.assign(element.style, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const fill = (element, ...children) => element.replaceChildren(...children.flat());

export function option(value, text = value) {
  return el("option", { value, textContent: text });
}

/** A line for everybody, also for screen readers; errors stay until the next one. */
export function say(text, isError = false) {
  const line = byId("status");
  line.textContent = text;
  line.classList.toggle("error", isError);
}

/** Runs an action of the user; its error becomes a line on the page. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    say(error.message, true);
    return undefined;
  }
}

export const percent = (share) => `${Math.round(100 * share)} %`;
/** With a true minus sign, and none before zero. */
export function decimal(number, digits = 1) {
  const text = Math.abs(number).toFixed(digits);
  return number < 0 && Number(text) !== 0 ? `−${text}` : text;
}
export const seconds = (time) => `${time.toFixed(2)} s`;

/** A table behind a picture, closed until it is wanted. */
export function tableOf(title, head, rows) {
  return el("details", {},
    el("summary", { textContent: title }),
    el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": title },
      el("table", {},
        el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", textContent: text })))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, index) =>
          index === 0 ? el("th", { scope: "row", textContent: cell }) : el("td", { textContent: cell }))))))));
}

/** Gives a text to the person as a file. */
export function download(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
