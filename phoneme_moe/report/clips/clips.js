/* Plays the clips of the page, singly or all, filters them, and handles the arrow keys. */
(() => {
  "use strict";
  const find = (what, where = document) => where.querySelector(what);
  const cards = [...document.querySelectorAll(".card")];
  const [all, speed, filter, status] = ["#all", "#speed", "#filter", "#status"].map(id => find(id));
  const audio = new Audio();
  let current = cards[0], playing = null, sequence = false, pause = 0;

  for (const hidden of document.querySelectorAll(".bar-of-tools, .keys, .play")) hidden.hidden = false;
  // One card is in the tab order; the arrow keys move from there.
  const reachable = (card, yes) => card.querySelectorAll("button, a").forEach(it => { it.tabIndex = yes ? 0 : -1; });
  cards.forEach((card, i) => reachable(card, i === 0));
  const shown = () => cards.filter(card => !card.hidden);
  const announce = text => { status.textContent = text; };
  const select = (card, focus) => {
    reachable(current, false);
    current = card;
    reachable(card, true);
    if (focus) find(".play", card).focus();
  };

  const rest = () => {
    clearTimeout(pause);
    audio.pause();
    if (playing) playing.classList.remove("playing");
    playing = null;
  };
  const stop = () => { rest(); sequence = false; all.textContent = "Play all"; report(); };
  const play = (card, from = 0) => {
    rest();
    playing = card;
    select(card, false);
    card.classList.add("playing");
    audio.src = card.dataset.file;
    audio.playbackRate = Number(speed.value);
    if (from > 0) audio.addEventListener("loadedmetadata", () => { audio.currentTime = from * audio.duration; }, { once: true });
    audio.play().catch(error => {
      if (error.name === "AbortError" || playing !== card) return;
      stop();
      announce(`${card.dataset.file} cannot be played`);
    });
    requestAnimationFrame(move);
  };
  const move = () => {
    if (!playing) return;
    const x = audio.duration ? find(".wave", playing).viewBox.baseVal.width * audio.currentTime / audio.duration : 0;
    const cursor = find(".cursor", playing);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    requestAnimationFrame(move);
  };
  audio.addEventListener("ended", () => {
    const those = shown(), next = those[those.indexOf(playing) + 1];
    if (!sequence || !next) { stop(); return; }
    pause = setTimeout(() => {
      // The focus follows if it is on a card, but not while the user is typing.
      const focus = document.activeElement === find(".play", current);
      play(next);
      if (focus) find(".play", next).focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
      announce(`${those.indexOf(next) + 1} of ${those.length}`);
    }, 350);
  });
  const toggle = card => { if (playing === card) stop(); else { if (sequence) stop(); play(card); } };
  all.addEventListener("click", () => {
    const those = shown();
    if (sequence) { stop(); return; }
    if (!those.length) return;
    const first = current.hidden || current === those.at(-1) ? those[0] : current;
    sequence = true;
    all.textContent = "Stop";
    play(first);
    announce(`${those.indexOf(first) + 1} of ${those.length}`);
  });
  speed.addEventListener("change", () => { audio.playbackRate = Number(speed.value); });
  for (const card of cards) {
    find(".play", card).addEventListener("click", () => toggle(card));
    find(".play", card).addEventListener("focus", () => { if (card !== current) select(card, false); });
    find(".wave", card).addEventListener("click", event => {
      const box = event.currentTarget.getBoundingClientRect();
      if (sequence) stop();
      play(card, (event.clientX - box.left) / box.width);
    });
  }

  const fields = ["speaker", "phoneme", "hypothesis", "expert", "utterance", "result"];
  const words = cards.map(card => fields.flatMap(f => [card.dataset[f], ...card.dataset[f].split(/[\s_#-]+/)]).map(w => w.toLowerCase()));
  const fits = (card, i, typed) => typed.every(word => {
    const [field, name] = word.split(/=(.*)/s);
    if (name !== undefined && fields.includes(field)) return card.dataset[field] === name;
    return words[i].some(name => name.startsWith(word.toLowerCase()));
  });
  const report = () => {
    const left = shown().length;
    announce(left === cards.length ? "" : `${left} of ${cards.length} clips`);
  };
  filter.addEventListener("input", () => {
    const typed = (filter.value.match(/(?:[^\s"]|"[^"]*")+/g) ?? []).map(word => word.replaceAll('"', ""));
    cards.forEach((card, i) => { card.hidden = !fits(card, i, typed); });
    for (const group of document.querySelectorAll("section")) {
      const left = group.querySelectorAll(".card:not([hidden])").length;
      group.hidden = !left;
      find("[data-count]", group).textContent = left;
    }
    const those = shown();
    find(".nothing").hidden = those.length > 0;
    if (playing && playing.hidden) stop();
    if (current.hidden && those.length) select(those[0], false);
    report();
  });

  // A link of the report names a cell: #speaker="ann" expert="bob".
  const from_link = () => {
    if (location.hash.length < 2) return;
    filter.value = decodeURIComponent(location.hash.slice(1));
    filter.dispatchEvent(new Event("input"));
  };
  from_link();
  addEventListener("hashchange", from_link);

  const middle = card => { const box = card.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; };
  const beside = key => {
    const those = shown(), at = those.indexOf(current);
    if (key === "ArrowRight") return those[at + 1];
    if (key === "ArrowLeft") return those[at - 1];
    if (key === "Home") return those[0];
    if (key === "End") return those.at(-1);
    const [x, y] = middle(current), sign = key === "ArrowDown" ? 1 : -1;
    let best, least = Infinity;
    for (const card of those) {
      const [ax, ay] = middle(card), down = sign * (ay - y);
      const far = down * 4 + Math.abs(ax - x);
      if (down > 20 && far < least) [best, least] = [card, far];
    }
    return best;
  };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { stop(); return; }
    const at = event.target;
    if (at.matches("input, select")) return;
    if (event.key === "/") { event.preventDefault(); filter.focus(); return; }
    if (event.key === " ") {
      // A focused button already handles the space key.
      if (!at.matches("button, a")) { event.preventDefault(); toggle(current); }
      return;
    }
    if (!["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    if (!event.key.startsWith("Arrow") && !at.matches(".play")) return;
    const next = beside(event.key);
    if (!next) return;
    event.preventDefault();
    select(next, true);
  });
})();
