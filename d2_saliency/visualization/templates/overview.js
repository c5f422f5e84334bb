"use strict";
const report = JSON.parse(document.getElementById("report-data").textContent);
const byId = id => document.getElementById(id);

function element(tag, text, parent, className) {
  const node = document.createElement(tag);
  if (text !== null) node.textContent = text;  // text only: names come from files
  if (className) node.className = className;
  return parent.appendChild(node);
}

const percent = score => `${(100 * score).toFixed(0)} %`;
const title = detection => `${detection.class} ${percent(detection.score)}`;
const isFlagged = detection => Object.values(detection.flags).some(flags => flags.length);
// "zero map: x_min" and "found again in 9 of 20 noise passes" are kinds of notes with changing ends.
const kind = flag => flag.replace(/[:\d].*$/, "").replace(/ in $/, "").trim();

function place(node, detection, image) {
  const [x0, y0, x1, y1] = detection.box;
  Object.assign(node.style, {
    left: `${100 * x0 / image.width}%`, width: `${100 * (x1 - x0) / image.width}%`,
    top: `${100 * y0 / image.height}%`, height: `${100 * (y1 - y0) / image.height}%`,
  });
}

function chip(detection, parent, onclick) {
  const button = element("button", isFlagged(detection) ? `${title(detection)} ⚠` : title(detection), parent);
  if (isFlagged(detection)) button.title = Object.values(detection.flags).flat().join("; ");
  button.onclick = onclick;
  return button;
}

// File names without the folders that all of them share.
const folders = report.images.map(image => image.file.split("/").slice(0, -1));
const shared = folders.reduce((a, b) => a.slice(0, a.findIndex((part, k) => part !== b[k]) >>> 0), folders[0] || []).length;
report.images.forEach(image => { image.label = image.file.split("/").slice(shared).join("/"); });

// Cards of the overview; each detection knows its chip and box there.
const cards = report.images.map((image, i) => {
  const card = element("li", null, byId("grid"));
  const thumb = element("div", null, element("div", null, card, "thumb"));
  const fit = Math.min(230 / image.width, 176 / image.height);
  Object.assign(thumb.style, {width: `${fit * image.width}px`, height: `${fit * image.height}px`});
  Object.assign(element("img", null, thumb), {loading: "lazy", alt: "", src: image.thumbnail});
  element("p", image.label, card).title = image.file;
  const chips = element("div", null, card, "chips");
  if (!image.detections.length) element("span", "no detection", chips, "dim");
  image.detections.forEach((detection, d) => {
    detection.frame = element("i", null, thumb);
    place(detection.frame, detection, image);
    detection.chip = chip(detection, chips, () => go(i, d));
  });
  thumb.parentNode.onclick = () => image.shown.length ? go(i, image.shown[0]) : go(i, 0);
  return card;
});

function fill(select, values) {
  for (const value of [...new Set(values)].sort()) Object.assign(element("option", value, byId(select)), {value});
}

const everything = report.images.flatMap(image => image.detections);
fill("by-class", everything.map(detection => detection.class));
fill("by-method", report.methods);
fill("by-flag", everything.flatMap(detection => Object.values(detection.flags).flat()).map(kind));

function matcher() {
  const name = byId("by-class").value, score = byId("by-score").value / 100, method = byId("by-method").value;
  const flag = byId("by-flag").value;
  return detection => {
    const flags = (method ? detection.flags[method] || [] : Object.values(detection.flags).flat()).map(kind);
    return (!name || detection.class === name) && detection.score >= score && (!method || method in detection.flags)
      && (!flag || (flag === "+" ? flags.length > 0 : flag === "-" ? !flags.length : flags.includes(flag)));
  };
}

function applyFilters() {
  const matches = matcher(), file = byId("by-file").value.toLowerCase();
  const anyImage = ["by-class", "by-method", "by-flag"].every(id => !byId(id).value) && byId("by-score").value === "0";
  let images = 0, detections = 0;
  report.images.forEach((image, i) => {
    image.shown = [];
    const fileMatches = image.file.toLowerCase().includes(file);
    image.detections.forEach((detection, d) => {
      const shown = fileMatches && matches(detection);
      if (shown) image.shown.push(d);
      detection.chip.hidden = !shown;
      detection.frame.className = shown ? "" : "off";
    });
    cards[i].hidden = !fileMatches || !(image.shown.length || anyImage);
    images += !cards[i].hidden;
    detections += image.shown.length;
  });
  byId("score").textContent = `${byId("by-score").value} %`;
  byId("count").textContent = `${detections} of ${everything.length} detections in ${images} of ${cards.length} images`;
  byId("nothing").hidden = images > 0;
}

byId("filters").oninput = applyFilters;
byId("filters").onsubmit = event => event.preventDefault();
byId("filters").onreset = () => setTimeout(applyFilters);  // the form resets its fields after this event
applyFilters();
