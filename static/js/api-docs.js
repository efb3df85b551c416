// Swagger UI over both documents; changes made from here carry the session's CSRF token.
const place = document.getElementById("api-docs");

window.addEventListener("DOMContentLoaded", () => {
  window.SwaggerUIBundle({
    domNode: place,
    urls: [
      { name: "Management", url: place.dataset.management },
      { name: "Gateway", url: place.dataset.gateway },
    ],
    presets: [window.SwaggerUIBundle.presets.apis, window.SwaggerUIStandalonePreset],
    // Swagger's logo brings a style of its own, which the page's policy refuses.
    plugins: [() => ({ components: { Logo: () => null } })],
    layout: "StandaloneLayout",
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    persistAuthorization: false,
    tryItOutEnabled: false,
    validatorUrl: null,
    requestInterceptor: (request) => {
      request.headers["X-CSRFToken"] = place.dataset.csrf;
      return request;
    },
  });
});
