const CACHED_IMAGES = 6;
const cache = new Map(), waiting = new Map();
let now = null, turn = 0, scrolled = 0;  // now: {i, d, image, detection, data, output, methods, photo, heat}

// Called by report/data/<image>.js. Scripts, because pages from disk may not fetch files.
globalThis.receiveImage = (name, data) => waiting.get(name)?.resolve(data);

function loadData(image) {
  if (cache.has(image.name)) return cache.get(image.name);
  const promise = new Promise((resolve, reject) => {
    waiting.set(image.name, {resolve});
    const script = Object.assign(document.createElement("script"), {src: image.data});
    script.onload = () => script.remove();
    script.onerror = () => { script.remove(); reject(new Error(`${image.data} is missing: make the report again.`)); };
    document.head.append(script);
  });
  cache.set(image.name, promise);
  promise.catch(() => cache.delete(image.name));
  for (const name of [...cache.keys()].slice(0, -CACHED_IMAGES)) cache.delete(name);
  return promise;
}

async function loadImage(source) {
  const image = Object.assign(new Image(), {src: source});
  await image.decode();
  return image;
}

// A strip of grey maps -> a canvas for each, the colour and opacity of a value as in saliency_visualizer.py: overlay().
async function colouredMaps(strip, [height, width]) {
  const image = await loadImage(strip);
  return report.outputs.map((_, k) => {
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, -k * height);
    const pixels = context.getImageData(0, 0, width, height);
    for (let p = 0; p < pixels.data.length; p += 4) {
      const value = pixels.data[p];
      pixels.data.set(report.colorMap[value], p);
      pixels.data[p + 3] = Math.min(255, 2 * value);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  });
}

async function open(i, d) {
  const image = report.images[i], detection = image.detections[d], mine = ++turn;
  if (byId("viewer").hidden) scrolled = scrollY;
  for (const id of ["overview", "head"]) byId(id).hidden = true;
  byId("viewer").hidden = false;
  const last = now;
  now = {i, d, image, detection, output: last ? last.output : 0, heat: {}, data: null, methods: []};
  showText();
  try {
    const data = await loadData(image);
    if (mine !== turn) return;
    now.data = data;
    const records = detection ? data.detections[d] : {}, names = Object.keys(records);
    const kept = last ? last.methods.filter(name => names.includes(name)) : [];
    now.methods = kept.length ? kept : names.slice(0, 2);
    showMethods(records);
    const heat = Object.entries(records).filter(([, record]) => record.maps)
      .map(async ([name, record]) => [name, await colouredMaps(record.maps, data.mapSize)]);
    const [photo, ...maps] = await Promise.all([image.picture ? loadImage(image.picture).catch(() => null) : null, ...heat]);
    if (mine !== turn) return;  // a later click was faster
    Object.assign(now, {photo, heat: Object.fromEntries(maps)});
    showTable();
    showStage();
    neighbour(1, step => loadData(report.images[step.i]).catch(() => null));  // the next one will be there at once
  } catch (error) {
    if (mine === turn) element("div", error.message, byId("warnings"));
  }
}

function showText() {
  const {image, detection, d} = now;
  for (const id of ["stage", "maps", "metrics", "warnings", "facts", "per-method", "siblings"]) byId(id).replaceChildren();
  byId("file").textContent = image.label;
  byId("file").title = image.file;
  byId("label").textContent = detection ? detection.class : "No detection";
  byId("position").textContent = detection ? `detection ${d + 1} of ${image.detections.length}` : "";
  byId("command").textContent = report.command;
  const size = `${image.width} × ${image.height} pixels`;
  const box = detection ? detection.box.map(v => v.toFixed(1)).join(", ") : null;
  rows(byId("facts"), detection ? {score: detection.score.toFixed(3), box, image: size} : {image: size});
  image.detections.forEach((other, k) => chip(other, byId("siblings"), () => go(now.i, k))
    .setAttribute("aria-pressed", String(k === d)));
  byId("previous").disabled = !neighbour(-1, () => true);
  byId("next").disabled = !neighbour(1, () => true);
  if (!detection) showStage();
}

function rows(table, values) {
  for (const [name, value] of Object.entries(values)) {
    const row = element("tr", null, table);
    element("th", name, row);
    element("td", value, row);
  }
}

const number = v => v === null ? "not finite" : v !== 0 && Math.abs(v) < 0.001 ? v.toExponential(1) : `${Number(v.toPrecision(3))}`;

function showMethods(records) {
  for (const text of now.data.warnings) element("div", text, byId("warnings"));
  for (const [name, record] of Object.entries(records)) {
    const parent = byId("per-method"), run = report.runs[name];
    element("h3", name, parent);
    if (record.num_samples > 0 && record.num_matched !== null) {
      const meter = element("meter", null, parent);
      Object.assign(meter, {min: 0, max: record.num_samples, low: record.num_samples / 2, optimum: record.num_samples, value: record.num_matched});
      meter.setAttribute("aria-label", "noise stability");
      element("div", `found again in ${record.num_matched} of ${record.num_samples} noise passes`, parent);
    }
    const notes = element("ul", null, parent);
    if (!record.explained) element("li", "not explained", notes);
    record.flags.filter(text => !text.startsWith("found again")).forEach(text => element("li", text, notes, "warn"));
    const seconds = now.data.seconds[name];
    const facts = {"class target": run.class_target, seed: run.seed, "time (image)": seconds == null ? null : `${seconds.toFixed(1)} s`};
    const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined);
    rows(element("table", null, parent), Object.fromEntries(known));
  }
  showMetrics(records);
}

// One row for each value that was measured, "<metric>.<value>", one column for each method; the best is bold.
function showMetrics(records) {
  const methods = Object.keys(records).filter(name => Object.keys(records[name].metrics).length);
  const keys = new Set(methods.flatMap(name => Object.keys(records[name].metrics)));
  if (!keys.size) return;
  const parent = byId("metrics"), heading = element("tr", null, parent);
  for (const text of ["What the maps are worth", ...methods]) element("th", text, heading);
  let group = null;
  for (const key of keys) {
    const [metric, value] = key.includes(".") ? key.split(".") : ["", key];
    if (metric !== group && metric) element("th", metric.replaceAll("_", " "), element("tr", null, parent, "group")).colSpan = methods.length + 1;
    group = metric;
    const better = methods.map(name => report.runs[name].metrics[key]).find(Boolean);
    const row = element("tr", null, parent), values = methods.map(name => records[name].metrics[key] ?? null);
    element("th", `${value}${{higher: " ↑", lower: " ↓"}[better] || ""}`, row);
    const known = values.filter(v => v !== null), best = better === "lower" ? Math.min(...known) : Math.max(...known);
    const differ = better && known.some(v => v !== best);
    for (const v of values) element("td", v === null ? "not defined" : number(v), row, v === null ? "dim" : differ && v === best ? "best" : "");
  }
}

// One row for each method, one column for each output.
function showTable() {
  const table = byId("maps");
  table.replaceChildren();
  for (const [name, record] of Object.entries(now.data.detections[now.d] || {})) {
    const heading = element("tr", null, table, "heading"), cell = element("th", null, heading);
    cell.colSpan = report.outputs.length;
    const toggle = element("button", name, cell, "method");
    toggle.title = "Show or hide it above";
    toggle.setAttribute("aria-pressed", String(now.methods.includes(name)));
    toggle.hidden = report.methods.length < 2;
    toggle.onclick = () => { toggleMethod(name); toggle.setAttribute("aria-pressed", String(now.methods.includes(name))); };
    const row = element("tr", null, table);
    row.dataset.method = name;
    report.outputs.forEach((output, k) => {
      const button = element("button", null, element("td", null, row));
      drawThumbnail(element("canvas", null, button), now.heat[name]?.[k], output, record.peaks[k]);
      element("div", output, button);
      const peak = record.peaks[k];
      const text = !record.explained ? "not explained" : !record.maps ? "no map" : peak === 0 ? "zero map" : peak === null ? "not finite" : `peak ${number(peak)}`;
      element("div", text, button, peak && record.maps ? "dim" : "warn");
      button.onclick = () => choose(k, name);
    });
  }
}

function drawThumbnail(canvas, heat, output, peak) {
  const {image, detection, photo} = now, [left, top, shownWidth, shownHeight] = view();
  const scale = Math.min(280 / shownWidth, 210 / shownHeight);
  const width = canvas.width = Math.max(1, Math.round(shownWidth * scale));
  const height = canvas.height = Math.max(1, Math.round(shownHeight * scale));
  const frame = [-left * scale, -top * scale, image.width * scale, image.height * scale];
  const context = canvas.getContext("2d");
  context.fillStyle = "#888";
  context.fillRect(0, 0, width, height);
  if (photo) context.drawImage(photo, ...frame);
  if (heat && peak) {
    context.globalAlpha = report.opacity;
    context.drawImage(heat, ...frame);
    context.globalAlpha = 1;
  }
  const [x0, y0, x1, y1] = detection.box.map((v, k) => Math.min(Math.max((v - (k % 2 ? top : left)) * scale, 1), (k % 2 ? height : width) - 1));
  const line = (x, y, toX, toY, color, thick) => {
    Object.assign(context, {strokeStyle: color, lineWidth: thick});
    context.beginPath(); context.moveTo(x, y); context.lineTo(toX, toY); context.stroke();
  };
  Object.assign(context, {strokeStyle: "#fff", lineWidth: 1});
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  const edges = {x_min: [x0, y0, x0, y1], x_max: [x1, y0, x1, y1], y_min: [x0, y0, x1, y0], y_max: [x0, y1, x1, y1]};
  if (output in edges) line(...edges[output], report.edgeColor, 3);
  if (!peak) { line(0, 0, width, height, "#b33c00", 4); line(0, height, width, 0, "#b33c00", 4); }
}
