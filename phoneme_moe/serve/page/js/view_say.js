// Say this: a text is aligned with the recording, and every phoneme gets a score.

import { postForJson } from "./api.js";
import { attempt, decimal, el, fill, option, say, seconds, tableOf } from "./elements.js";

const NOTATIONS = { "": "the run's", arpabet: "ARPABET", ipa: "IPA", xsampa: "X-SAMPA" };
const GOOD = 70;
const FAIR = 40;

export function sayView(app, panel) {
  const calibrated = app.run.scores_pronunciation;
  const text = el("textarea", {
    id: "say-text", value: app.settings.text ?? "",
    placeholder: app.server.has_lexicon ? "words, or phonemes separated by spaces" : "phonemes separated by spaces",
  });
  const symbols = el("select", {}, Object.entries(NOTATIONS).map(([value, name]) => option(value, name)));
  const result = el("div", { "aria-live": "polite" });
  const align = () => attempt(async () => {
    if (!app.recording) throw new Error("Choose or record a recording first.");
    if (!text.value.trim()) throw new Error("Write the text first.");
    app.remember({ text: text.value.trim() });
    say("Aligning …");
    const query = { run: app.run.name, symbols: symbols.value, ...spoken(app, text.value.trim(), symbols.value) };
    const alignment = await postForJson("/v1/align", query, app.recording);
    app.timeline.show({ ...app.inspection, transcript: alignment }, app.server.expert_colours);
    fill(result, ...contents(app, alignment));
    say(`${alignment.segments.length} phonemes aligned.`);
  });
  text.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) align(); };
  fill(panel,
    el("label", { className: "field", for: "say-text", textContent: "Text that was read" }), text,
    el("div", { className: "controls" },
      el("button", { type: "button", className: "main", textContent: "Align", onclick: align }),
      el("label", { className: "field" }, "Notation ", symbols),
      app.server.has_lexicon ? "" : el("span", { className: "hint", textContent: "Words need a dictionary: serve --lexicon FILE." })),
    calibrated ? "" : el("p", { className: "hint", textContent: "This run's goodness of pronunciation is not calibrated, so there is no score of 0 to 100: below is the log likelihood ratio of each phoneme and its best alternative, positive if none fits better." }),
    result);
  return {
    recorded: () => {
      if (app.example && !app.settings.text) text.value = (app.server.has_lexicon && app.example.text) || app.example.phonemes;
      if (text.value) align();
    },
  };
}

/** As phonemes if all parts are, in the run's notation; else as words. */
function spoken(app, text, symbols) {
  const known = new Set(app.run.phonemes);
  const phonemes = text.split(/\s+/).every((part) => known.has(part));
  return phonemes || symbols || !app.server.has_lexicon ? { phonemes: text } : { text };
}

function contents(app, alignment) {
  const scored = alignment.segments.every((segment) => typeof segment.score === "number");
  const words = alignment.words.length ? alignment.words : [{ word: "", start: 0, end: Infinity }];
  const byWord = words.map((word) => ({
    ...word,
    segments: alignment.segments.map((segment, index) => ({ ...segment, index })).filter((segment) => segment.start >= word.start - 1e-6 && segment.end <= word.end + 1e-6),
  }));
  const head = scored ? [
    el("p", {}, el("span", { className: "score", textContent: String(Math.round(alignment.score)) }), " of 100 for the whole"),
    el("p", { className: "hint", textContent: "Of 100 phonemes with the score 80, about 80 were the one in the text, if half of all had been replaced on purpose by one that is easily confused. The score of a word, and of the whole, is the mean of its phonemes." }),
  ] : [];
  return [
    ...head,
    el("div", { className: "words" }, byWord.map((word) => wordOf(app, word, scored))),
    tableOf("All phonemes as a table", ["phoneme", "start, s", "end, s", "score", "log likelihood ratio", "fits best"],
      alignment.segments.map((segment) => [segment.phoneme, segment.start.toFixed(3), segment.end.toFixed(3),
        scored ? String(Math.round(segment.score)) : "", decimal(segment.goodness, 2), segment.best || "nothing"])),
  ];
}

function wordOf(app, word, scored) {
  const score = scored && word.word ? String(Math.round(word.score)) : "";
  return el("div", { className: "word" },
    word.word ? el("span", {}, el("b", { textContent: word.word }), score) : "",
    el("div", { className: "chips" }, word.segments.map((segment) => chip(app, segment, scored))));
}

function chip(app, segment, scored) {
  const better = segment.best === segment.phoneme ? "" : segment.best || "nothing";
  const value = scored ? String(Math.round(segment.score)) : decimal(segment.goodness);
  const level = scored ? segment.score : segment.goodness > 0 ? 100 : segment.goodness > -2 ? 50 : 0;
  const name = level >= GOOD ? "good" : level >= FAIR ? "fair" : "poor";
  return el("button", {
    type: "button", className: `chip ${name}`,
    "aria-label": `${segment.phoneme}, ${scored ? "score" : "log likelihood ratio"} ${value}${better ? `, ${better} fits better` : ""}, ${seconds(segment.start)}`,
    onclick: () => app.timeline.select(segment.index, true),
  }, segment.phoneme, el("small", { textContent: value }), el("small", { textContent: better ? `→ ${better}` : "\u00a0" }));
}
