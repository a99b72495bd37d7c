// SPDX-License-Identifier: Apache-2.0

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: -1,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null, // nothing is sent to anybody
  queryConfigEnabled: false, // nor read from the address of this page
  persistAuthorization: false,
});
