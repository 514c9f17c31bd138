// The page's behaviour: choose an image, ask POST /predict, show the answer, then ask POST /explain where its
// evidence lies. Nothing is kept or sent elsewhere.
"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const input = element("image");
const drop = element("drop");
let known = null; // the file that the page has taken note of
let last = null; // the same, also where the choice was emptied since
let address = null; // of the preview, a blob in this browser's memory
let asked = 0; // an answer to an older question is not shown
let asking = new AbortController(); // of the question that is open

const ANSWER_MS = 65_000; // the service itself gives up after 60 s, and says so
const MODEL_MS = 3_000; // an answer waits no longer for the words about its model
const FORM_BYTES = 4096; // what a question weighs beside its image, at most

const FIELD_NAMES = { age: "age", sex: "sex", site: "body site" };

function percent(probability) {
  if (probability > 0.9995) return "> 99.9\u00a0%";
  if (probability < 0.0005) return "< 0.1\u00a0%";
  return `${(100 * probability).toFixed(1)}\u00a0%`;
}

const setting = (share) => `${Number((100 * share).toPrecision(3))}\u00a0%`; // a chosen figure: 95 %, not 95.0 %

function showError(message, isOfAge = false) {
  element("error").textContent = message;
  element("error").hidden = !message;
  element("age").setAttribute("aria-invalid", String(isOfAge));
}

function showStatus(message, state = "") {
  const status = element("status");
  status.textContent = message;
  status.className = `status ${state}`;
}

// Whatever is shown belongs to the image and fields that stand in the form; a change takes it away.
function forgetAnswer(message = "No image has been assessed yet.") {
  asked += 1;
  asking.abort(); // or the service would work on for nobody
  asking = new AbortController();
  setBusy(false);
  forgetPictures();
  element("answer").hidden = true;
  element("promise").hidden = false;
  showStatus(message);
}

function forgetPictures() {
  element("subject-image").removeAttribute("src");
  element("evidence").hidden = true;
  element("evidence-state").textContent = "";
  element("map").getContext("2d").clearRect(0, 0, element("map").width, element("map").height);
  element("map-choice").replaceChildren(element("map-choice").firstElementChild);
  element("strength").oninput = null;
}

// Not `disabled`, which would drop the keyboard's focus.
function setBusy(busy) {
  element("assess").setAttribute("aria-disabled", String(busy));
  element("result").setAttribute("aria-busy", String(busy));
}

function showPreview(file) {
  if (address) URL.revokeObjectURL(address);
  const preview = element("preview");
  address = file ? URL.createObjectURL(file) : null;
  preview.hidden = !file;
  if (file) preview.src = address;
  else preview.removeAttribute("src");
  input.setAttribute("aria-label", file ? `Choose another image; chosen: ${file.name}` : "Choose an image");
  drop.classList.toggle("filled", Boolean(file));
  element("drop-verb").textContent = file ? "or drop or paste another" : "or drop or paste one";
  element("drop-title").textContent = file ? file.name : "Choose an image";
}

function take(files) {
  const first = [...files].find((file) => file.size >= 0);
  if (!first) return;
  const transfer = new DataTransfer();
  transfer.items.add(first);
  input.files = transfer.files;
  chosen();
  if (files.length > 1) showStatus(`One image at a time: ${first.name} was taken. ${element("status").textContent}`);
}

function chosen() {
  known = input.files[0] ?? null;
  showError("");
  showPreview(known);
  forgetAnswer(known ? readyWords() : undefined);
  last = known ?? last;
}

function startOver() {
  last = null;
  chosen();
}

const isSame = (one, other) => ["name", "size", "lastModified"].every((key) => one[key] === other[key]);

// Several lesions may be one patient's, so the fields stay; but the next image may be another patient's.
function readyWords() {
  const kept = Object.keys(FIELD_NAMES).filter((id) => element(id).value).map((id) => FIELD_NAMES[id]);
  if (!last || isSame(known, last) || !kept.length) return "Ready to assess.";
  return `Ready to assess. Does what stands in the form belong to this image, too (${kept.join(", ")})?`;
}

// After a choice that the browser calls none: the same name once more, or a file that it kept on the way back.
function chosenUnsaid() {
  if ((input.files[0] ?? null) !== known) chosen();
}

function describe(list, entries) {
  list.replaceChildren();
  for (const [name, value] of entries) {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    list.append(term, text);
  }
}

const years = (value) => `${Number(Number(value).toFixed(2))} years`;

function chosenWords(id) {
  const field = element(id);
  if (!field.value) return "not known";
  return field.tagName === "SELECT" ? field.selectedOptions[0].text : years(field.value);
}

function showBars(top3) {
  element("top3").replaceChildren();
  for (const { diagnosis, name, probability } of top3) {
    const item = element("bar").content.cloneNode(true);
    item.querySelector(".bar-name").textContent = name;
    item.querySelector(".bar-code").textContent = diagnosis;
    item.querySelector(".bar-value").textContent = percent(probability);
    item.querySelector(".bar-fill").style.width = `${100 * probability}%`;
    element("top3").append(item);
  }
}

function referWords({ refer }) {
  if (refer === null) return "";
  return refer ? "At or above the threshold: refer." : "Below the threshold; this is no all-clear.";
}

// The threshold was chosen for a sensitivity; what it gave on cases set aside may be less.
function thresholdWords({ malignant_threshold: threshold, sensitivity }, { value, low, high } = {}) {
  const chosen = sensitivity === null ? "" : `, set for a sensitivity of ${setting(sensitivity)} (of all malignant diagnoses together)`;
  const set = `The mark stands at a malignant risk of ${setting(threshold ?? 0)}${chosen} on training cases that the networks had not seen.`;
  if (value == null) return set;
  const interval = low == null ? "" : ` (95\u00a0% interval ${setting(low)} to ${setting(high)})`;
  return `${set} Of the malignant cases set aside for the test it found ${setting(value)}${interval}.`;
}

function showRisk(answer, held) {
  const { refer, malignant_threshold: threshold } = answer.decision;
  element("melanoma").textContent = percent(answer.melanoma_probability);
  element("malignant").textContent = percent(answer.malignant_probability);
  element("melanoma-fill").style.width = `${100 * answer.melanoma_probability}%`;
  element("malignant-fill").style.width = `${100 * answer.malignant_probability}%`;
  element("gauge").classList.toggle("above", refer === true);
  element("gauge-mark").hidden = threshold === null;
  element("gauge-mark").style.left = `${100 * (threshold ?? 0)}%`;
  element("refer").hidden = refer === null;
  const words = document.createElement("strong");
  words.textContent = referWords(answer.decision);
  element("refer").replaceChildren(words, ` ${thresholdWords(answer.decision, held)}`);
}

function showSet({ prediction_set: codes, set_coverage: coverage }, names) {
  element("set").hidden = coverage === null;
  const listed = codes.length ? codes.map((code) => names[code] ?? code).join("; ") : "none reaches its threshold";
  element("set").textContent =
    `Prediction set: ${listed}. Such sets are made to hold the true diagnosis in about ${setting(coverage ?? 0)} of the ` +
    "cases of each diagnosis, by a threshold of its own. They rule nothing out: one outside may be the true one.";
}

function showTable(probabilities, names) {
  const rows = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  element("all").replaceChildren();
  for (const [code, probability] of rows) {
    const row = element("all").insertRow();
    row.insertCell().textContent = code;
    row.insertCell().textContent = names[code] ?? code;
    const cell = row.insertCell();
    cell.textContent = percent(probability);
    cell.className = "number";
  }
}

const FOR = [20, 70, 255]; // blue: no colour of skin
const AGAINST = [255, 150, 0];

const FULL = 0.5; // log-odds: what changes less than that is never drawn in full strength

// A map's tiles as one small picture; the browser smooths it when it is drawn larger.
function tinted(map) {
  const height = map.length;
  const width = map[0].length;
  const largest = Math.max(FULL, ...map.flat().map(Math.abs));
  const small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  const pixels = new ImageData(width, height);
  map.flat().forEach((value, i) => {
    pixels.data.set([...(value > 0 ? FOR : AGAINST), (255 * Math.abs(value)) / largest], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  return small;
}

function placeOf(map, value) {
  const index = map.flat().indexOf(value);
  const third = (position, length) => Math.floor((3 * (position + 0.5)) / length);
  const vertical = ["top", "", "bottom"][third(Math.floor(index / map[0].length), map.length)];
  const horizontal = ["left", "", "right"][third(index % map[0].length, map[0].length)];
  return [vertical, horizontal].filter(Boolean).join(" ") || "middle";
}

function whatMattersMost(map, name) {
  const largest = map.flat().reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most));
  const factor = Math.exp(Math.abs(largest));
  if (factor < 1.1) return `No single tile matters much for ${name}.`;
  const changed = `${largest > 0 ? "divided" : "multiplied"} by ${Number(factor.toPrecision(2))}`;
  return `Without the tile that matters most (${placeOf(map, largest)}) the odds of ${name} are ${changed}.`;
}

function drawMap({ seen, map, name }) {
  const canvas = element("map");
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.globalAlpha = 1;
  context.drawImage(seen, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = element("strength").value / 100;
  context.drawImage(tinted(map), 0, 0, canvas.width, canvas.height);
  const most = placeOf(map, Math.max(...map.flat()));
  canvas.setAttribute("aria-label", `The square that the networks see; most evidence for ${name}: ${most}.`);
  const words =
    `The square that the networks see, each of ${map.length} by ${map[0].length} tiles painted over in turn: ` +
    `without a blue one ${name} becomes less probable, without an orange one more. ${whatMattersMost(map, name)} ` +
    "No map shows the lesion's border, or that the answer is right.";
  if (element("map-words").textContent !== words) element("map-words").textContent = words; // it is read aloud
}

// The answer stands before its evidence is asked for, which takes longer.
async function showEvidence(body, { top3, model: { digest } }) {
  const mine = asked;
  const tell = (words) => mine === asked && (element("evidence-state").textContent = words);
  tell("Looking where the evidence lies \u2026");
  try {
    const { seen_png: png, maps, model } = await ask("explain", body);
    if (model.digest !== digest) throw new Error("Another model has taken over.");
    const bytes = Uint8Array.from(atob(png), (byte) => byte.charCodeAt(0));
    const seen = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    if (mine === asked) offerMaps(seen, maps, top3);
    tell("Where the evidence lies is shown now.");
  } catch {
    tell("No map could be made of where the evidence lies.");
  }
}

function offerMaps(seen, maps, top3) {
  const choose = (chosen) => {
    element("strength").oninput = () => drawMap(chosen);
    drawMap(chosen);
  };
  const choices = top3.map(({ diagnosis, name }) => ({ seen, map: maps[diagnosis], name }));
  const options = choices.map((choice, i) => {
    const option = element("map-option").content.cloneNode(true);
    const radio = option.querySelector("input");
    radio.checked = i === 0;
    option.querySelector("span").textContent = choice.name;
    radio.addEventListener("change", () => choose(choice));
    return option;
  });
  element("map-choice").replaceChildren(element("map-choice").firstElementChild, ...options);
  choose(choices[0]);
  element("evidence").hidden = false;
}

function filledIn([field, value]) {
  return `${FIELD_NAMES[field]} (${field === "age" ? years(value.toFixed(1)) : value})`;
}

function showAnswer(answer, { names, sensitivity }) {
  element("subject-image").src = address;
  describe(element("subject"), [
    ["File", known.name],
    ["Assessed", new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" })],
    ["Age", chosenWords("age")],
    ["Sex", chosenWords("sex")],
    ["Body site", chosenWords("site")],
  ]);
  const given = answer.top3.length > 0;
  element("abstained").hidden = answer.abstained === null;
  element("abstained-why").textContent = given ? answer.abstained : `No diagnosis is given. ${answer.abstained}`;
  element("force").parentElement.hidden = given;
  element("findings").hidden = !given;
  element("imputed").hidden = !given;
  element("details").hidden = !given;
  if (given) {
    showBars(answer.top3);
    showSet(answer.decision, names);
    showRisk(answer, sensitivity);
    showTable(answer.probabilities, names);
  }
  const filled = Object.entries(answer.filled_in).map(filledIn);
  element("imputed").textContent = filled.length
    ? `Not given and filled in: ${filled.join(", ")}.`
    : "All patient fields were given; nothing was filled in.";
  element("answer-notice").textContent = answer.notice.replace("Not a medical device.", "").trim();
  describe(element("provenance"), [
    ["Model", answer.model.name],
    ["Model version", answer.model.version],
    ["Bundle (digest)", answer.model.digest],
    ["Code (git)", answer.model.git_commit],
    ["Data (md5)", answer.model.data_md5],
    ["MLflow run", answer.model.mlflow_run_id],
    ["Time taken", `${answer.elapsed_ms.toFixed(1)} ms`],
  ]);
  element("promise").hidden = true;
  element("answer").hidden = false;
  showStatus(given ? spoken(answer) : `No diagnosis. ${answer.abstained}`, "done");
}

// The answer as a screen reader says it.
function spoken(answer) {
  const listed = answer.top3.map(({ name, probability }) => `${name} ${percent(probability)}`).join(", ");
  const risk = `Malignant or a precursor ${percent(answer.malignant_probability)}.`;
  return [answer.abstained, `Result: ${listed}.`, risk, referWords(answer.decision)].filter(Boolean).join(" ");
}

// Plain words of all classes and how the threshold did on the hold-out; without them the table shows codes.
async function askAboutModel() {
  try {
    const response = await fetch("model", { signal: AbortSignal.timeout(MODEL_MS) });
    const { digest, classes, metrics } = await response.json();
    const names = Object.fromEntries(classes.map(({ diagnosis, name }) => [diagnosis, name]));
    return { digest, names, sensitivity: metrics.operating_point?.sensitivity };
  } catch {
    return { digest: "", names: {} };
  }
}

let model = askAboutModel();

// Of the model that answered: a page may stand open while another takes over.
async function aboutModel({ digest }) {
  const isOfIt = (about) => about.digest.startsWith(digest);
  if (!isOfIt(await model)) model = askAboutModel();
  const about = await model;
  return isOfIt(about) ? about : { names: {} };
}

// The form with the file's bytes, read whole and once: a part of a file that is gone would read as empty, and the
// evidence is asked for the same bytes later.
async function filledForm() {
  const file = input.files[0];
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Error("The file has changed or can't be read any more. Choose it again.");
  });
  if (!bytes.byteLength) throw new Error("The file is empty. Choose another one.");
  const body = new FormData(form);
  body.set("image", new File([bytes], file.name, { type: file.type }));
  return body;
}

// What an answer's text says; null where it is no JSON, such as a proxy's page to sign in.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function ask(path, body) {
  const open = asking;
  const late = setTimeout(() => open.abort(new DOMException("", "TimeoutError")), ANSWER_MS);
  try {
    const response = await fetch(path, { method: "POST", body, signal: open.signal });
    const text = await response.text(); // its end, too, may never come
    const answer = parsed(text);
    if (!response.ok) throw new Error(answer?.error ?? `The service answered with status ${response.status}.`);
    if (!answer?.model) throw new Error("What came back is no answer of this service. If you have to sign in for it, reload the page.");
    return answer;
  } catch (error) {
    if (error.name === "TimeoutError") throw new Error(`No answer within ${ANSWER_MS / 1000} seconds. Is the service overloaded, or the link slow?`);
    if (error.name === "TypeError" || error.name === "AbortError") throw new Error("The service can't be reached. Is it still running?");
    throw error;
  } finally {
    clearTimeout(late);
  }
}

// With a decimal comma or point; the service takes the point. Three digits after it are a thousand, not an age.
function ageIsValid() {
  const age = element("age");
  const value = age.value.trim().replace(",", ".");
  if (value && !(/^(\d+|\d*\.\d{1,2})$/.test(value) && Number(value) <= Number(age.dataset.max))) return false;
  age.value = value;
  return true;
}

function focusIsLost() {
  const focused = document.activeElement;
  return !focused || focused === document.body || !focused.getClientRects().length;
}

async function assess(force) {
  showError("");
  if (!input.files[0]) {
    showError("Choose an image first.");
    input.focus();
    return;
  }
  if (input.files[0].size + FORM_BYTES > input.dataset.maxMb * 2 ** 20) {
    showError(`The image is larger than ${input.dataset.maxMb} MB. Save a smaller one.`);
    input.focus();
    return;
  }
  if (!ageIsValid()) {
    showError(`Age must be a number of years from 0 to ${element("age").dataset.max}, with two decimals at most.`, true);
    element("age").focus();
    return;
  }
  forgetAnswer();
  const mine = asked;
  setBusy(true);
  showStatus("Assessing the image.", "busy");
  try {
    const body = await filledForm();
    if (force) body.set("force", "true");
    const answer = await ask("predict", body);
    const about = await aboutModel(answer.model);
    if (mine !== asked) return;
    showAnswer(answer, about);
    if (answer.top3.length) showEvidence(body, answer);
    const below = element("result").getBoundingClientRect().top > window.innerHeight / 2;
    if (below || focusIsLost()) element("result-title").focus();
  } catch (error) {
    if (mine !== asked) return;
    showStatus("There is no result.");
    showError(error.message);
    if (focusIsLost()) element("assess").focus();
  } finally {
    if (mine === asked) setBusy(false);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (element("assess").getAttribute("aria-disabled") !== "true") assess(false);
});
element("force").addEventListener("click", () => assess(true));
form.addEventListener("reset", () => setTimeout(startOver));
input.addEventListener("change", chosen);
input.addEventListener("cancel", chosenUnsaid);
window.addEventListener("pageshow", chosenUnsaid);
element("preview").addEventListener("error", () => { element("preview").hidden = true; });
for (const id of ["age", "sex", "site"]) {
  element(id).addEventListener("input", () => {
    showError("");
    const isAsked = element("result").getAttribute("aria-busy") === "true";
    if (isAsked || !element("answer").hidden) forgetAnswer("The patient data have changed. Assess again.");
  });
}
element("print").addEventListener("click", () => window.print());
// The whole page takes a file; beside the zone the browser would leave the page and open it.
const holdsFile = (event) => event.dataTransfer.types.includes("Files");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over"); // out of the window
});
document.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (!holdsFile(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});
// A spreadsheet's cell comes as text and as its picture: in a field its text is meant.
document.addEventListener("paste", (event) => {
  const { files, types } = event.clipboardData;
  if (!files.length || (event.target === element("age") && types.includes("text/plain"))) return;
  event.preventDefault();
  take(files);
});
