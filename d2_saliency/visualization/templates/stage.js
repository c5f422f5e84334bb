// The large pictures: one for each chosen method, side by side.

let followed = "";  // the part of the address that the page shows
const opacity = byId("opacity"), swipe = byId("swipe"), zoom = byId("zoom");
const isZoomed = () => zoom.getAttribute("aria-pressed") === "true";

function showStage() {
  const {image, detection} = now, names = now.methods.length ? now.methods : [null];
  byId("stage").replaceChildren();
  for (const name of names) {
    const figure = element("figure", null, byId("stage"));
    const picture = element("div", null, figure, "picture"), layer = element("div", null, picture, "layer");
    if (image.picture) Object.assign(element("img", null, layer), {src: image.picture, alt: image.file});
    const record = name && now.data.detections[now.d][name], heat = name && now.heat[name]?.[now.output];
    if (heat && record.peaks[now.output]) {
      const canvas = element("canvas", null, layer, "heat");
      Object.assign(canvas, {width: heat.width, height: heat.height}).getContext("2d").drawImage(heat, 0, 0);
      addDivider(picture);
    } else if (record) element("div", record.explained ? (record.maps ? "This map is zero everywhere or not finite." : "no map") : "not explained", picture, "zero");
    image.detections.forEach((other, k) => addBox(layer, other, k));
    if (name) element("figcaption", `${name}: ${report.outputs[now.output]}`, figure);
  }
  [...byId("maps").querySelectorAll("tr[data-method]")].forEach(row => [...row.querySelectorAll("button")].forEach((button, k) =>
    button.setAttribute("aria-pressed", String(k === now.output && now.methods.includes(row.dataset.method)))));
  zoom.disabled = !detection;
  layOut();
}

function addBox(layer, detection, k) {
  const chosen = k === now.d;
  const box = element("button", null, layer, chosen ? `box chosen ${report.outputs[now.output]}` : "box");
  place(box, detection, now.image);
  box.title = title(detection);
  box.setAttribute("aria-label", title(detection));
  box.onclick = () => go(now.i, k);
  const [x0, y0, x1, y1] = detection.box, share = (x1 - x0) * (y1 - y0) / (now.image.width * now.image.height);
  box.style.zIndex = 1 + Math.round(1e5 * (1 - Math.min(share, 1)));  // small ones on top
}

function addDivider(picture) {
  const divider = element("div", null, picture, "divider");
  divider.title = "Drag: picture on the left, map on the right";
  divider.onpointerdown = event => divider.setPointerCapture(event.pointerId);
  divider.onpointermove = event => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const frame = picture.getBoundingClientRect();
    swipe.value = 100 * (event.clientX - frame.left) / frame.width;
    adjust();
  };
}

// The part of the image that is shown, (x, y, width, height) in pixels: all of it, or the box and what is around it.
function view() {
  const {image, detection} = now;
  if (!isZoomed() || !detection) return [0, 0, image.width, image.height];
  const [x0, y0, x1, y1] = detection.box, side = Math.max((x1 - x0) / image.width, (y1 - y0) / image.height, 0.02);
  const width = Math.min(1, 1.8 * side) * image.width, height = Math.min(1, 1.8 * side) * image.height;
  const start = (centre, part, whole) => Math.min(Math.max(centre - part / 2, 0), whole - part);
  return [start((x0 + x1) / 2, width, image.width), start((y0 + y1) / 2, height, image.height), width, height];
}

function layOut() {
  const {image} = now, figures = [...byId("stage").children], [x, y, width, height] = view();
  const room = byId("stage").clientWidth, gap = 10;
  const perRow = room > 640 ? Math.min(figures.length, 3) : 1;
  const share = Math.floor((room - gap * (perRow - 1)) / perRow);
  const size = Math.min(share / image.width, Math.max(0.5 * innerHeight, 260) / image.height);
  for (const figure of figures) {
    const picture = figure.querySelector(".picture"), layer = figure.querySelector(".layer");
    Object.assign(picture.style, {width: `${Math.max(size * image.width, 24)}px`, height: `${Math.max(size * image.height, 24)}px`});
    Object.assign(layer.style, {
      left: `${-100 * x / width}%`, top: `${-100 * y / height}%`,
      width: `${100 * image.width / width}%`, height: `${100 * image.height / height}%`,
    });
  }
  adjust();
}

function adjust() {
  const [x, , width] = now ? view() : [0, 0, 1], at = swipe.value;
  byId("stage").querySelectorAll(".heat").forEach(canvas => {
    canvas.style.opacity = opacity.value / 100;
    canvas.style.clipPath = `inset(0 0 0 ${100 * (x + width * at / 100) / now.image.width}%)`;
  });
  byId("stage").querySelectorAll(".divider").forEach(divider => { divider.style.left = `clamp(12px, ${at}%, calc(100% - 12px))`; });
}

function choose(output, method) {
  now.output = output;
  if (method && !now.methods.includes(method)) toggleMethod(method);
  showStage();
}

function toggleMethod(name) {
  const kept = now.methods.filter(other => other !== name);
  now.methods = kept.length < now.methods.length && kept.length ? kept : [...new Set([...now.methods, name])];
  now.methods.sort((a, b) => report.methods.indexOf(a) - report.methods.indexOf(b));
  byId("maps").querySelectorAll(".method").forEach(button =>
    button.setAttribute("aria-pressed", String(now.methods.includes(button.textContent))));
  showStage();
}

// The detection before or after this one among those that the filters leave; on to other images at the ends.
function neighbour(by, use) {
  const shown = report.images.flatMap((image, i) => image.shown.map(d => ({i, d})));
  const later = shown.filter(({i, d}) => Math.sign(i - now.i || d - now.d) === by);
  const found = by > 0 ? later[0] : later[later.length - 1];
  return found ? use(found) : false;
}

const step = by => neighbour(by, ({i, d}) => go(i, d));

// At once, not when the browser tells of the new address: a key that is held down counts each time.
function go(i, d) { location.hash = `${i + 1}/${d + 1}`; follow(); }

function back() { location.hash = ""; follow(); }

function follow() {
  if (location.hash === followed) return;
  followed = location.hash;
  const found = location.hash.match(/^#(\d+)\/(\d+)$/), image = found && report.images[found[1] - 1];
  if (image && (found[2] - 1 < image.detections.length || !image.detections.length)) {
    const first = byId("viewer").hidden;
    open(found[1] - 1, found[2] - 1);
    if (first) { scrollTo(0, byId("viewer").offsetTop); byId("viewer").focus({preventScroll: true}); }
  } else if (!byId("viewer").hidden) {
    turn++;
    byId("viewer").hidden = true;
    for (const id of ["overview", "head"]) byId(id).hidden = false;
    scrollTo(0, scrolled);
  }
}

document.addEventListener("keydown", event => {
  if (byId("viewer").hidden || event.target.tagName === "INPUT" || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key >= "1" && event.key <= String(report.outputs.length)) choose(event.key - 1);
  else if (event.key === "z") zoom.click();
  else if (event.key === "Escape") back();
  else return;
  event.preventDefault();
});

byId("back").onclick = back;
byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
zoom.onclick = () => { zoom.setAttribute("aria-pressed", String(!isZoomed())); showTable(); showStage(); };
opacity.value = 100 * report.opacity;
opacity.oninput = swipe.oninput = adjust;
addEventListener("resize", () => { if (now && !byId("viewer").hidden) layOut(); });
addEventListener("hashchange", follow);
const scale = byId("scale").getContext("2d"), ramp = scale.createImageData(256, 1);
report.colorMap.forEach((color, i) => ramp.data.set([...color, 255], 4 * i));
scale.putImageData(ramp, 0, 0);
follow();
