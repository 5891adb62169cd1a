// Requests to the server; a refusal becomes an Error with the server's line.

async function answer(response) {
  if (response.ok) return response;
  let text = `${response.status} ${response.statusText}`;
  try {
    text = (await response.json()).error ?? text;
  } catch {
    // Not from the server itself.
  }
  const error = new Error(response.status === 429 ? `The server is busy: ${text}.` : text);
  error.status = response.status;
  throw error;
}

function path(name, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${name}?${new URLSearchParams(given)}` : name;
}

export const get = async (name, query) => (await answer(await fetch(path(name, query)))).json();
export const getBlob = async (name, query) => (await answer(await fetch(path(name, query)))).blob();

function form(recording, fields) {
  const data = new FormData();
  if (recording) data.append("file", recording.blob, recording.name);
  for (const [name, value] of Object.entries(fields)) data.append(name, typeof value === "string" ? value : JSON.stringify(value));
  return data;
}

export async function post(name, query, recording, fields = {}, options = {}) {
  const response = await fetch(path(name, query), { method: "POST", body: form(recording, fields), ...options });
  return answer(response);
}

export const postForJson = async (...given) => (await post(...given)).json();

export async function postJson(name, query, body) {
  const headers = { "content-type": "application/json" };
  return (await answer(await fetch(path(name, query), { method: "POST", body: JSON.stringify(body), headers }))).json();
}

/** Corrected utterances as a form: recordings and labels in the same order. */
export function labelledForm(utterances) {
  const data = new FormData();
  for (const utterance of utterances) {
    data.append("file", utterance.blob, utterance.name);
    data.append("labels", JSON.stringify({ segments: utterance.segments.map(({ phoneme, start, end }) => ({ phoneme, start, end })) }));
  }
  return data;
}

export async function postLabelled(name, query, utterances) {
  return answer(await fetch(path(name, query), { method: "POST", body: labelledForm(utterances) }));
}

/** Waits for a job and tells its stages. */
export async function jobDone(job, onStage) {
  while (job.state === "waiting" || job.state === "running") {
    onStage(job.stage || job.state);
    await new Promise((done) => setTimeout(done, 500));
    job = await get(`/v1/jobs/${job.id}`);
  }
  if (job.state === "failed") throw new Error(job.error);
  return job;
}

export function listen(query) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}${path("/v1/listen", query)}`);
  socket.binaryType = "arraybuffer";
  return socket;
}
