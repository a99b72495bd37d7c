// SPDX-License-Identifier: Apache-2.0
// What pages do beside showing themselves. Everything works without it, but for
// copying and keeping up to date.
(() => {
  "use strict";

  // Times in the viewer's zone.
  const clock = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const localTimes = (root) => {
    for (const el of root.querySelectorAll("time[data-local]")) {
      const at = new Date(el.dateTime);
      if (Number.isNaN(at.valueOf())) continue;
      el.title = el.dateTime;
      el.textContent = clock.format(at);
      delete el.dataset.local;
    }
  };
  localTimes(document);

  // A link may bring the API key behind the #, which browsers send to nobody. It is
  // only filled in: that somebody signs in is his own doing.
  const keyField = document.querySelector("main.sign-in #f-key");
  if (keyField && /^#[0-9a-z]{10}-[A-Za-z0-9_-]{20,}$/.test(location.hash)) {
    keyField.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname + location.search);
    document.querySelector("main.sign-in form button").focus();
  }

  // Light and dark.
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page only, then */ }
  });

  // Copying, said aloud.
  const said = document.createElement("div");
  said.className = "visually-hidden";
  said.setAttribute("role", "status");
  document.body.append(said);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      said.textContent = "Copied";
      button.classList.add("copied");
      setTimeout(() => { button.classList.remove("copied"); said.textContent = ""; }, 1500);
    } catch {
      said.textContent = "The browser does not let pages copy: select the text yourself";
    }
  });

  // Menus close when one clicks or goes elsewhere, and by Escape.
  const menus = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  // The tab that one is at is in sight.
  const tab = document.querySelector(".tabs [aria-current]");
  if (tab) {
    const tabs = tab.parentElement;
    const show = () => { tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2; };
    show();
    addEventListener("resize", show);
  }

  const nav = document.querySelector("details[data-nav]");
  if (nav) {
    const narrow = matchMedia("(max-width: 860px)");
    const fit = () => { nav.open = !narrow.matches; };
    fit();
    narrow.addEventListener("change", fit);
  }

  // A button that only asks: the answer comes into the page, and what was typed stays.
  const ask = async (form, button) => {
    const into = document.getElementById(button.dataset.try), word = button.textContent;
    button.setAttribute("aria-disabled", "true");
    button.textContent = button.dataset.busy;
    try {
      const answer = await fetch(button.formAction, {
        method: "POST", headers: { "X-Fragment": "1" }, credentials: "same-origin", body: new URLSearchParams(new FormData(form)),
      });
      into.innerHTML = await answer.text();
    } catch {
      into.textContent = "The signer does not answer. Try again in a moment.";
    }
    button.textContent = word;
    button.removeAttribute("aria-disabled");
  };

  // A form that takes its time says so, and is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.submitter?.dataset.try) {
      event.preventDefault();
      if (!event.submitter.hasAttribute("aria-disabled")) ask(form, event.submitter);
      return;
    }
    const button = event.submitter || form.querySelector("button[type=submit]");
    if (!button || form.method === "get") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    button.setAttribute("aria-disabled", "true");
    if (form.dataset.busy) { button.textContent = form.dataset.busy; said.textContent = form.dataset.busy; }
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      form.querySelector("button[type=submit]")?.removeAttribute("aria-disabled");
    }
  });

  // Whether a mouse button or a finger is down: a click is one only if what it began
  // on is still there when it ends.
  let pressed = false;
  addEventListener("pointerdown", () => { pressed = true; }, true);
  for (const kind of ["pointerup", "pointercancel", "contextmenu"]) addEventListener(kind, () => { setTimeout(() => { pressed = false; }); }, true);

  // Parts that keep themselves up to date, while somebody looks.
  const live = (el) => {
    const every = Number(el.dataset.every) || 3000;
    let wait = every, was = "";
    const next = () => setTimeout(look, wait);
    // What is being read, filled in or clicked on is not taken away.
    const used = () => {
      const busy = el.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, summary, button");
      const selection = getSelection();
      const marked = selection && !selection.isCollapsed && el.contains(selection.anchorNode);
      return busy || marked || pressed;
    };
    const look = async () => {
      if (document.hidden) {
        document.addEventListener("visibilitychange", look, { once: true });
        return;
      }
      if (used()) { next(); return; }
      try {
        const answer = await fetch(el.dataset.live, { headers: { "X-Fragment": "1" }, credentials: "same-origin", cache: "no-store" });
        if (answer.status === 401) { location.reload(); return; }
        const text = await answer.text();
        if (answer.ok) {
          wait = every;
          if (text !== was && !used()) { // nor what has come to be used since it was asked for
            was = text;
            const focused = el.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
            el.innerHTML = text;
            localTimes(el);
            if (focused) el.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
          }
          el.removeAttribute("data-stale");
        } else { wait = Math.min(2 * wait, 60000); el.setAttribute("data-stale", ""); }
      } catch { wait = Math.min(2 * wait, 60000); el.setAttribute("data-stale", ""); }
      next();
    };
    next();
  };
  for (const el of document.querySelectorAll("[data-live]")) live(el);
})();
