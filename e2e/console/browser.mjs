// SPDX-License-Identifier: Apache-2.0
//
// Drives Chromium for the tests: a command per line of stdin as JSON, with an id,
// and for each a line of stdout with the id and what came of it. Commands for
// different tabs run at the same time. It ends when stdin does.
import fs from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const clients = createRequire(new URL("../clients/package.json", import.meta.url));
const { chromium } = clients("playwright-core");
const axe = fs.readFileSync(clients.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.argv[2], timeout: 120000,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});
const tabs = new Map(), patience = 90000;

// What the page complains of, or what stands in it comes to life.
const listen = (page, said) => {
  page.on("console", (m) => { if (m.type() === "error") said.push(`console: ${m.text()} ${m.location().url}`); });
  page.on("pageerror", (e) => said.push(`error: ${e.message}`));
  page.on("dialog", (d) => { said.push(`dialog: ${d.message()}`); d.dismiss(); });
};

const commands = {
  // open makes a tab: in a browser of its own, or beside another tab.
  async open({ tab, beside, width = 1280, height = 860, dark = false }) {
    const context = beside ? tabs.get(beside).page.context() : await browser.newContext({
      viewport: { width, height }, colorScheme: dark ? "dark" : "light", timezoneId: "UTC", locale: "en-GB",
    });
    const page = await context.newPage(), said = [];
    page.setDefaultTimeout(patience);
    listen(page, said);
    await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`)));
    tabs.set(tab, { page, said });
  },
  async goto({ page }, { url }) {
    const answer = await page.goto(url);
    return { status: answer?.status(), url: page.url() };
  },
  async fill({ page }, { at, text }) { await page.fill(at, text); },
  async choose({ page }, { at, text }) { await page.selectOption(at, { label: text }); },
  async drop({ page }, { at, name, text }) { // a file, from outside of the browser
    const dataTransfer = await page.evaluateHandle(({ name, text }) => {
      const all = new DataTransfer();
      all.items.add(new File([text], name, { type: name.endsWith(".json") ? "application/json" : "text/plain" }));
      return all;
    }, { name, text });
    for (const kind of ["dragenter", "dragover", "drop"]) await page.dispatchEvent(at, kind, { dataTransfer });
  },
  async save({ page }, { at }) { // what a click has the browser download
    const [file] = await Promise.all([page.waitForEvent("download"), page.locator(at).first().click()]);
    return { url: file.suggestedFilename(), text: fs.readFileSync(await file.path(), "utf8") };
  },
  async key({ page }, { name, times = 1 }) { for (let i = 0; i < times; i++) await page.keyboard.press(name); },
  async type({ page }, { text }) { await page.keyboard.type(text); },
  async "check-box"({ page }, { at }) { await page.check(at); },
  async click({ page }, { at }) { await page.locator(at).first().click(); await page.waitForLoadState(); return { url: page.url() }; },
  async see({ page }, { at = "body", text, within = patience }) {
    await page.locator(at).filter({ hasText: text }).first().waitFor({ timeout: within });
  },
  // reach waits until the page of an address with a part is there.
  async reach({ page }, { part }) { await page.waitForURL((url) => url.href.includes(part)); },
  async count({ page }, { at }) { return { value: await page.locator(at).count() }; },
  async text({ page }, { at }) { return { text: await page.locator(at).first().innerText() }; },
  async run({ page }, { code }) { return { value: await page.evaluate(code) }; },
  async frame({ page }, { index }) { // the text of a frame; empty if the browser shows nothing of it
    const f = page.frames()[index];
    return { text: f ? await f.evaluate(() => document.body?.innerText ?? "").catch(() => "") : "", url: f?.url() ?? "" };
  },
  async look({ page }, { width, height = 860, dark }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  },
  async shot({ page }, { file }) { await page.screenshot({ path: file, fullPage: true, animations: "disabled" }); },
  async check({ page }, { rules }) {
    const options = { resultTypes: ["violations"], iframes: false, ...(rules ? { runOnly: { type: "rule", values: rules } } : {}) };
    if (!await page.evaluate("!!window.axe")) await page.evaluate(`${axe};0`);
    const found = await page.evaluate(`axe.run(document, ${JSON.stringify(options)})`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    return {
      wide,
      violations: found.violations.filter((v) => ["serious", "critical"].includes(v.impact))
        .map((v) => `${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.any[0]?.message ?? ""}`).join(" | ")}`),
    };
  },
  async said({ said }) { return { said: said.splice(0) }; },
  async close({ page }, { tab }) { tabs.delete(tab); await page.close(); },
};

const answer = async (line) => {
  const { id, command, ...args } = JSON.parse(line);
  let result;
  try {
    result = command === "open" ? await commands.open(args) : await commands[command](tabs.get(args.tab), args);
  } catch (e) {
    result = { error: `${command}: ${e.message}` };
  }
  process.stdout.write(`${JSON.stringify({ id, ...result })}\n`);
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", answer);
lines.on("close", async () => { await browser.close(); process.exit(0); });
process.stdout.write(`${JSON.stringify({ id: 0 })}\n`);
