// Swagger UI over both documents, loaded when somebody asks for it or follows a link into it.
// Changes made from there carry the session's CSRF token.
const place = document.getElementById("api-docs");
const button = document.getElementById("open-swagger");

function load(element, from) {
  return new Promise((done, failed) => {
    element.addEventListener("load", done);
    element.addEventListener("error", failed);
    Object.assign(element, from);
    document.head.append(element);
  });
}

const script = (src) => load(document.createElement("script"), { src });

async function open() {
  button.disabled = true;
  try {
    await Promise.all([
      load(document.createElement("link"), { rel: "stylesheet", href: place.dataset.style }),
      script(place.dataset.bundle),
      script(place.dataset.preset),
    ]);
  } catch {
    button.disabled = false;
    return;
  }
  show();
  place.hidden = false;
  button.hidden = true;
  document.getElementById("api-lists").hidden = true;
}

function show() {
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
}

button.addEventListener("click", open);
if (window.location.hash.length > 1 && window.location.hash !== "#main") open();
