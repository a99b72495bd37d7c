// SPDX-License-Identifier: Apache-2.0

(() => {
  const { document: openapi, base, service } = document.body.dataset;
  const select = document.getElementById("account");
  const who = document.getElementById("who");
  let token = ""; // of the session; empty if nobody has signed in

  // ask gives the JSON of an answer, or nothing.
  async function ask(path, init) {
    try {
      const answer = await fetch(path, { credentials: "same-origin", ...init });
      return answer.ok ? await answer.json() : undefined;
    } catch {
      return undefined;
    }
  }

  // accounts are those of the service: from the management API, or, where this page
  // comes from the JSON-RPC listener, by eth_accounts.
  async function accounts() {
    const listed = await ask(service + "/accounts?fields=address,label&limit=200");
    if (Array.isArray(listed)) return listed;
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_accounts", params: [] });
    const said = await ask(service, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    return Array.isArray(said?.result) ? said.result.slice(0, 200).map((address) => ({ address })) : [];
  }

  async function fill() {
    const list = await accounts();
    const none = new Option(list.length > 0 ? "none: fly-from as given below" : "no accounts: give fly-from below", "");
    const options = list.map(({ address, label }) => new Option(label ? `${address} – ${label}` : address, address));
    select.replaceChildren(none, ...options);
    select.disabled = false;
    if (options.length > 0) select.selectedIndex = 1;
  }

  async function session() {
    const is = await ask("/auth/session");
    if (!is?.csrf_token) return;
    token = is.csrf_token;
    who.textContent = `Calls are made as ${is.name || is.subject}.`;
  }

  // send adds the session's token at the last moment, so that the command that is
  // shown for copying does not have it.
  function send(url, options = {}) {
    const headers = new Headers(options.headers);
    headers.set("X-CSRF-Token", token);
    return fetch(url, { ...options, headers });
  }

  // signed are the operations that take an account, as methods and patterns of paths.
  const signed = [];

  async function read() {
    const it = await ask(openapi);
    const root = new URL(it?.servers?.[0]?.url ?? base, location.href).pathname;
    const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    for (const [path, operations] of Object.entries(it?.paths ?? {})) {
      const pattern = path.split(/\{[^}]+\}/).map(escaped).join("[^/]+");
      for (const [method, { parameters = [] }] of Object.entries(operations)) {
        if (parameters.some((p) => p.$ref === "#/components/parameters/from")) {
          signed.push({ method: method.toUpperCase(), path: new RegExp(`^${escaped(root)}${pattern}$`) });
        }
      }
    }
  }

  // complete adds to a call of the gateway what its caller has chosen, and to nothing
  // that goes elsewhere.
  function complete(request) {
    const url = new URL(request.url, location.href);
    if (url.origin !== location.origin || !(url.pathname + "/").startsWith(base + "/")) return request;
    const method = (request.method || "GET").toUpperCase();
    request.credentials = "same-origin";
    if (token && method !== "GET") request.userFetch = send;
    const given = [...url.searchParams.keys()].some((name) => /^(fly|kld)-from$/i.test(name));
    if (select.value && !given && signed.some((s) => s.method === method && s.path.test(url.pathname))) {
      url.searchParams.set("fly-from", select.value);
      request.url = url.href;
    }
    return request;
  }

  document.getElementById("signer").addEventListener("submit", (e) => e.preventDefault());
  Promise.all([fill(), session(), read()]).finally(() => {
    SwaggerUIBundle({
      url: openapi,
      dom_id: "#ui",
      deepLinking: true,
      docExpansion: "list",
      defaultModelsExpandDepth: -1,
      layout: "BaseLayout",
      presets: [SwaggerUIBundle.presets.apis],
      requestInterceptor: complete,
      validatorUrl: null, // nothing is sent to anybody
      queryConfigEnabled: false, // nor read from the address of this page
      persistAuthorization: false,
    });
  });
})();
