// SPDX-License-Identifier: Apache-2.0
// The page of documents, and the editor of rules. A file goes from here to the
// management API, which hashes it as it comes; the browser never has all of it in
// memory.
(() => {
  "use strict";

  // To the line that a problem is about.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-line]");
    const area = button && document.getElementById(button.dataset.in);
    if (!area) return;
    const lines = area.value.split("\n"), line = Number(button.dataset.line) - 1;
    const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line] ?? "").length);
    area.scrollTop = Math.max(0, line - 3) * (area.scrollHeight / lines.length);
  });

  const choose = document.querySelector("[data-choose]");
  if (choose) {
    choose.querySelector("button").hidden = true;
    choose.addEventListener("change", () => choose.requestSubmit());
  }

  const size = (n) => {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit++; }
    return `${unit ? n.toFixed(1) : n} ${units[unit]}`;
  };

  // A wrapped key is put into its field in base64. What looks like a key in clear
  // stays on this machine.
  const wrapped = (field, input, area) => {
    const refuses = field.querySelector("[data-refuses]");
    const isClear = (text) => /^\s*(\{|-----BEGIN|(0x)?[0-9a-f]{2,64}\s*$)/i.test(text);
    const refuse = (why) => { refuses.textContent = why; refuses.hidden = !why; };
    input.addEventListener("change", async () => {
      const file = input.files[0];
      if (!file) return;
      const bytes = file.size > 65536 ? new Uint8Array() : new Uint8Array(await file.arrayBuffer());
      if (bytes.length < 385 || isClear(String.fromCharCode(...bytes.slice(0, 200)))) {
        refuse(`${file.name} is no wrapped key. It was not sent. Wrap the key first, as step 2 says.`);
        input.value = area.value = "";
        input.dispatchEvent(new Event("change"));
        return;
      }
      refuse("");
      area.value = btoa(String.fromCharCode(...bytes));
    });
    area.form.addEventListener("submit", (event) => {
      if (!isClear(area.value)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      area.value = "";
      refuse("This looks like a private key in clear. It was not sent. Wrap the key first, as step 2 says.");
      area.focus();
    });
  };

  // A field into which a file's text is put, for what is sent as a form. The file
  // itself is not sent.
  for (const field of document.querySelectorAll("[data-paste]")) {
    const drop = field.querySelector(".drop"), input = drop.querySelector("input"), area = field.querySelector("textarea");
    drop.hidden = false;
    if (field.dataset.paste === "base64") { wrapped(field, input, area); continue; }
    input.addEventListener("change", async () => { if (input.files[0]) area.value = await input.files[0].text(); });
  }

  // Where files are dropped.
  for (const drop of document.querySelectorAll(".drop")) {
    const input = drop.querySelector("input"), says = drop.querySelector("[data-says]"), empty = says.textContent;
    const show = () => {
      const file = input.files[0];
      drop.classList.toggle("full", Boolean(file));
      says.textContent = file ? `${file.name}, ${size(file.size)}` : empty;
    };
    input.addEventListener("change", show);
    show();
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!event.dataTransfer.files.length) return;
      const one = new DataTransfer();
      one.items.add(event.dataTransfer.files[0]);
      input.files = one.files;
      input.dispatchEvent(new Event("change"));
    });
  }
  if (document.querySelector(".drop")) {
    // A file that misses is not opened in place of the page.
    for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => { if (!event.target.closest?.(".drop")) event.preventDefault(); });
  }

  const element = (name, className, text) => {
    const el = document.createElement(name);
    if (className) el.className = className;
    if (text !== undefined) el.textContent = text;
    return el;
  };
  const notice = (tone, title, ...more) => {
    const el = element("div", `notice ${tone}`), body = element("div");
    if (tone === "bad") el.setAttribute("role", "alert");
    body.append(element("p", "outcome-title", title), ...more);
    el.append(body);
    return el;
  };
  const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

  // send posts a body, and tells how much of it is gone.
  const send = (form, url, body, type) => new Promise((resolve, reject) => {
    const bar = form.querySelector("progress"), request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("X-CSRF-Token", form.dataset.token);
    if (type) request.setRequestHeader("Content-Type", type);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable && event.total > 1e6) { bar.hidden = false; bar.value = 100 * event.loaded / event.total; }
    });
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Error("the signer does not answer, or the file was changed while it was read")));
    request.addEventListener("loadend", () => { bar.hidden = true; bar.value = 0; });
    request.send(body);
  });

  const refusal = (request) => {
    if (request.status === 401) return notice("bad", "Your session has ended", element("p", "", "Sign in again in another tab, then repeat this: the file is still chosen."));
    let text = "The signer gave no reason.";
    try {
      const said = JSON.parse(request.responseText);
      text = sentence(said.errorMessage || text);
    } catch { /* no reason, then */ }
    return notice("bad", request.status === 403 ? "You may not do this, or the policy does not allow it" : "That did not work", element("p", "", text));
  };

  // Short documents are hashed here as well, so that what arrives is what was chosen.
  const hashed = async (file) => {
    if (!crypto.subtle || file.size > 64e6) return "";
    const sum = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return Array.from(new Uint8Array(sum), (b) => b.toString(16).padStart(2, "0")).join("");
  };

  const sign = async (form, outcome) => {
    const file = form.elements.document.files[0];
    const query = new URLSearchParams({ account: form.elements.account.value.trim(), name: file.name, size: String(file.size) });
    if (/^[\w.+-]+\/[\w.+-]+$/.test(file.type)) query.set("media_type", file.type.toLowerCase());
    const sum = await hashed(file);
    if (sum) query.set("sha256", sum);
    const answer = await send(form, `${form.dataset.sign}?${query}`, file, "application/octet-stream");
    if (answer.status === 201) {
      const link = element("a", "button", "Save the bundle");
      link.href = URL.createObjectURL(new Blob([answer.responseText], { type: "application/json" }));
      link.download = `${file.name}.bundle.json`;
      const facts = element("p", "", "Keep the bundle with the document: it is all that anybody needs to check it.");
      const at = element("p", "small wrap", sum ? `SHA-256 ${sum}` : "");
      outcome.replaceChildren(notice("good", `${file.name} is signed`, facts, at, link));
      link.click();
      return;
    }
    if (answer.status === 202) {
      const waits = JSON.parse(answer.responseText), link = element("a", "", "The request that waits");
      link.href = `${form.dataset.approvals}/${encodeURIComponent(waits.approval_id)}`;
      outcome.replaceChildren(notice("warn", "People are asked first", element("p", "", `${waits.approved} of ${waits.needed} have approved. Sign it again here once they have.`), link));
      return;
    }
    outcome.replaceChildren(refusal(answer));
  };

  const badge = (tone, mark, word) => {
    const el = element("span", `badge ${tone}`), dot = element("span", "", mark);
    dot.setAttribute("aria-hidden", "true");
    el.append(dot, ` ${word}`);
    return el;
  };
  const results = { "holds": ["good", "●", "holds"], "fails": ["bad", "▲", "fails"], "not checked": ["calm", "○", "not checked"] };

  const verdict = (report) => {
    const fails = report.findings.filter((f) => f.result === "fails").length;
    const head = !report.valid
      ? notice("bad", `The signature does not hold: ${fails} ${fails === 1 ? "part fails" : "parts fail"}`)
      : report.complete
        ? notice("good", "The signature holds, in every part")
        : notice("good", "What was checked holds", element("p", "", "Not all was checked: see below what was left out."));
    const m = report.manifest;
    if (m) head.firstChild.append(element("p", "small wrap", `${m.name || "a document without a name"}, ${size(Number(m.size))}, signed by ${m.signer} (${m.wallet}), ${new Date(m.time).toLocaleString()}`));
    const box = element("div", "scroll"), table = element("table", "parts"), body = element("tbody");
    for (const f of report.findings) {
      const row = element("tr"), is = element("td"), what = element("td");
      is.append(badge(...(results[f.result] || ["calm", "○", f.result])));
      what.append(document.querySelector(`[data-part="${CSS.escape(f.part)}"] td`)?.textContent || f.part);
      if (f.why) what.append(element("br"), element("small", "dim", sentence(f.why)));
      row.append(is, what);
      body.append(row);
    }
    table.append(body);
    box.append(table);
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "What holds, part by part");
    return [head, box];
  };

  const verify = async (form, outcome) => {
    const body = new FormData(), file = form.elements.document.files[0], account = form.elements.account.value.trim();
    body.append("bundle", form.elements.bundle.files[0]);
    if (file) body.append("document", file);
    const answer = await send(form, form.dataset.verify + (account ? `?${new URLSearchParams({ account })}` : ""), body);
    if (answer.status === 200) outcome.replaceChildren(...verdict(JSON.parse(answer.responseText)));
    else outcome.replaceChildren(refusal(answer));
  };

  for (const [name, act] of [["sign", sign], ["verify", verify]]) {
    const form = document.querySelector(`form[data-${name}]`);
    if (!form) continue;
    const button = form.querySelector("button[type=submit]"), outcome = form.querySelector("[data-outcome]"), word = button.textContent;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (button.hasAttribute("aria-disabled")) return;
      button.setAttribute("aria-disabled", "true");
      button.textContent = button.dataset.busy;
      outcome.replaceChildren();
      try {
        await act(form, outcome);
      } catch (err) {
        outcome.replaceChildren(notice("bad", "That did not work", element("p", "", sentence(err.message))));
      }
      button.textContent = word;
      button.removeAttribute("aria-disabled");
    });
  }
})();
