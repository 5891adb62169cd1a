// The address of a view: #view?run=NAME&example=ID&... brings it back.

export const VIEWS = ["live", "file", "what-if", "say", "correct", "who"];

export function read() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: VIEWS.includes(view) ? view : "file", settings: Object.fromEntries(new URLSearchParams(query)) };
}

export function write(view, settings) {
  const given = Object.entries(settings).filter(([, value]) => value);
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  const hash = `#${view}${query}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}
