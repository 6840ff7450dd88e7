package gateway

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"crier/internal/apiclient"
	"crier/internal/ledger"
	"crier/internal/tasks"
)

// Tags group the calls in the API's description.
const (
	tagJobs    = "Jobs"
	tagTargets = "Targets"
	tagDropIn  = "Chat API"
	tagFiles   = "Files"
	tagHealth  = "Health"
)

const apiAbout = "Takes send jobs, one message and from one to ten million targets, and tells what became of them. " +
	"What is answered with 2xx is stored; of what is refused, nothing is. Every POST may be repeated after a lost answer: " +
	"give it an `Idempotency-Key`."

func apiConfig(version string) huma.Config {
	c := huma.DefaultConfig("Crier", version)
	c.Info.Description = apiAbout
	c.Info.License = &huma.License{Name: "Apache 2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: "/"}}
	c.CreateHooks = nil // answers are documents of their own, without links to schemas
	c.Transformers = []huma.Transformer{ownProblem}
	c.DocsPath, c.SchemasPath = "", ""
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {
		Type: "http", Scheme: "bearer", Description: "One of the keys in ENQUEUE_API_KEYS.",
	}}
	c.Security = []map[string][]string{{"key": {}}}
	c.Tags = []*huma.Tag{
		{Name: tagJobs, Description: "Send jobs and what becomes of them."},
		{Name: tagTargets, Description: "Lists of any length, in as many requests as you like."},
		{Name: tagDropIn, Description: "The Chat API's own calls: change the base URL, and the list may be of any length."},
		{Name: tagFiles, Description: "Files that messages refer to."},
		{Name: tagHealth, Description: "For machines that look after this one."},
	}
	return c
}

// operation is one call of the API.
type operation struct {
	id, method, path, tag, summary, about string

	body    *huma.RequestBody
	success int                       // status, 0 = 200
	slow    bool                      // it takes as long as a list is
	lenient bool                      // towards parameters that are not known here
	answers map[string]*huma.Response // beside the one that the handler's type tells
	errors  []int                     // beside 401, 422 and 500
	tell    func(*Problem)            // words a problem, nil = as it is
}

// quick is how long a call may take that depends on Redis alone.
const quick = 10 * time.Second

// register serves a call. What its handler returns as an error becomes a problem.
func register[I, O any](g *Gateway, o operation, handle func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Description: o.about,
		Tags: []string{o.tag}, RejectUnknownQueryParameters: !o.lenient, DefaultStatus: o.success, Responses: map[string]*huma.Response{},
	}
	for code, answer := range o.answers {
		op.Responses[code] = answer
	}
	schema := g.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, code := range append(o.errors, http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusInternalServerError) {
		op.Responses[strconv.Itoa(code)] = &huma.Response{
			Description: http.StatusText(code), Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
		}
	}
	huma.Register(g.api, op, func(ctx context.Context, in *I) (*O, error) {
		working, cancel := ctx, func() {}
		if !o.slow {
			working, cancel = context.WithTimeout(ctx, quick)
		}
		defer cancel()
		if job, ok := any(in).(interface{ unknown() bool }); ok && job.unknown() {
			return nil, g.refuse(ctx, ledger.ErrNotFound, o.tell)
		}
		out, err := handle(working, in)
		if err != nil {
			return nil, g.refuse(ctx, err, o.tell)
		}
		return out, nil
	})
	if o.body != nil {
		// Only now: package huma would read a body that it knows of, and whole.
		item := g.api.OpenAPI().Paths[o.path]
		described := *item.Post
		described.RequestBody = o.body
		item.Post = &described
	}
}

// refuse makes a problem of an error, and logs what is not the client's doing.
func (g *Gateway) refuse(ctx context.Context, err error, tell func(*Problem)) *Problem {
	p := problemOf(err)
	r := exchangeOf(ctx).r
	switch {
	case ctx.Err() != nil: // the client has gone: nobody reads the answer
		g.Log.Debug("a client has gone", "path", r.URL.Path, "error", err)
	case p.Status == http.StatusInternalServerError:
		g.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	case p.Status >= http.StatusInternalServerError:
		g.warning.Do(func() {
			g.Log.Warn("a request could not be served, and perhaps others neither",
				"method", r.Method, "path", r.URL.Path, "status", p.Status, "error", err)
		})
	}
	if tell != nil {
		tell(p)
	}
	return p
}

// ownProblem turns what package huma says of parameters into a problem as all others
// are: fields are named as they are written.
func ownProblem(_ huma.Context, _ string, v any) (any, error) {
	found, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problem(found.Status, "%s", found.Detail)
	var faults []string
	for _, e := range found.Errors {
		_, name, _ := strings.Cut(e.Location, ".") // behind query, path or header
		p = p.fields(apiclient.FieldError{Field: name, Problem: e.Message})
		faults = append(faults, name+": "+e.Message)
	}
	if faults != nil {
		p.Detail = strings.Join(faults, "\n")
	}
	return p, nil
}

// describe is the description of a body with one JSON document.
func describe[T any](api huma.API, about string) *huma.RequestBody {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, reflect.TypeFor[T]().Name())
	return &huma.RequestBody{Required: true, Description: about, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// created describes the two answers to what makes a job.
func (g *Gateway) created(made, there string) map[string]*huma.Response {
	schema := g.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[tasks.Status](), true, "Status")
	content := map[string]*huma.MediaType{"application/json": {Schema: schema}}
	return map[string]*huma.Response{
		"202": {Description: made, Content: content}, "200": {Description: there, Content: content},
	}
}
