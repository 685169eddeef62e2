// Refreshes the page in place: fetches it again and carries over what differs, so that focus, selection and
// scrolling stay. Without this script the page is whole, and the browser's own reload refreshes it.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.refresh);
  const status = document.getElementById("refresh");
  if (!(seconds > 0)) return;
  let paused = false;
  let timer = 0;

  const words = document.createElement("span");
  const button = document.createElement("button");
  button.type = "button";
  status.append(words, button);

  function say(failure) {
    const every = `refreshes every ${seconds} s`;
    const text = failure || (paused ? "refresh is paused" : every);
    // A status that does not change is not read out again.
    if (words.textContent !== text) words.textContent = text;
    words.className = failure ? "failed" : "";
    button.textContent = paused ? "Resume" : "Pause";
  }

  function carryOver(old, fresh) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    // What somebody is typing or choosing is theirs.
    if (old.nodeType !== Node.ELEMENT_NODE || old.localName === "form") return;
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const keyed = new Map();
    for (const child of old.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const key = child.dataset && child.dataset.key;
      const twin = key === undefined ? at : keyed.get(key);
      const usable =
        twin && twin.nodeType === child.nodeType && twin.localName === child.localName &&
        (twin.dataset && twin.dataset.key) === key;
      if (!usable) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (twin === at) at = at.nextSibling;
      else old.insertBefore(twin, at);
      carryOver(twin, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  async function refresh() {
    if (paused || document.hidden) return;
    let failure = "";
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = fresh.getElementById("main");
      if (!main) throw new Error(`status ${answer.status}`);
      const focused = document.activeElement;
      carryOver(document.getElementById("main"), main);
      carryOver(document.getElementById("stamp"), fresh.getElementById("stamp"));
      // Moving a row takes the focus from what is in it.
      if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    } catch {
      failure = "the exporter does not answer; these numbers are old";
    }
    say(failure);
  }

  async function round() {
    clearTimeout(timer);
    await refresh();
    clearTimeout(timer);
    timer = setTimeout(round, seconds * 1000);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    say("");
    round();
  });
  document.addEventListener("visibilitychange", () => document.hidden || round());
  say("");
  timer = setTimeout(round, seconds * 1000);
})();
