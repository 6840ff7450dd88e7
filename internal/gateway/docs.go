package gateway

import "github.com/swaggest/swgui/v5emb"

// docsPath is under which the pages about the API stand, with all they need.
const docsPath = "/docs/"

func (g *Gateway) registerDocs() {
	pages := v5emb.New("Crier", "/openapi.json", docsPath)
	g.mux.Handle("GET "+docsPath, pages)
	g.mux.Handle("GET /docs", pages)
}
