// File: what was recognised, as a table, and in the formats of other programs.

import { post } from "./api.js";
import { attempt, decimal, download, el, fill, percent, seconds, tableOf } from "./elements.js";

const FORMATS = { textgrid: ["TextGrid", "application/x-textgrid"], ctm: ["CTM", "application/x-ctm"], srt: ["SRT", "application/x-subrip"], vtt: ["VTT", "text/vtt"], json: ["JSON", "application/json"], csv: ["CSV", "text/csv"] };

export function fileView(app, panel) {
  fill(panel, el("p", { className: "hint", textContent: "Phonemes, their confidence and the weights of the experts appear here as soon as there is a recording." }));
  return { recorded: () => fill(panel, ...contents(app)) };
}

function contents(app) {
  const { transcript, experts, log_probability: logProbability } = app.inspection;
  const buttons = Object.entries(FORMATS).map(([name, [label, type]]) =>
    el("button", { type: "button", textContent: label, onclick: () => attempt(() => save(app, name, type)) }));
  const several = experts.length > 1;
  const rows = transcript.segments.map((segment) => {
    const [leading, weight] = Object.entries(segment.experts).sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
    return [segment.phoneme, segment.start.toFixed(3), segment.end.toFixed(3), percent(segment.confidence), ...(several ? [leading, percent(weight)] : [])];
  });
  return [
    el("p", { className: "transcripts", textContent: transcript.phonemes.join(" ") || "No phoneme was recognised." }),
    el("dl", { className: "numbers" },
      fact("length", seconds(transcript.duration)),
      fact("phonemes", String(transcript.phonemes.length)),
      logProbability === null ? [] : fact("log-probability", decimal(logProbability)),
      fact("recognised in", seconds(app.inspection.seconds))),
    el("div", { className: "controls" }, el("span", { className: "field", textContent: "Download" }), buttons),
    tableOf("All phonemes as a table", ["phoneme", "start, s", "end, s", "confidence", ...(several ? ["leading expert", "weight"] : [])], rows),
  ];
}

export const fact = (name, value) => el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value }));

async function save(app, name, type) {
  const response = await post("/v1/transcribe", { run: app.run.name }, app.recording, {}, { headers: { accept: type } });
  const stem = app.recording.name.replace(/\.[^.]*$/, "");
  download(await response.blob(), stem + app.server.formats[name]);
}
