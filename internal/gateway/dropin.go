package gateway

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"crier/internal/apiclient"
	"crier/internal/tasks"
)

// call is a call as the Chat API takes it.
type call struct {
	KeyHeader
	Org      string `path:"org" doc:"The app's organization, {org_name}."`
	App      string `path:"app" doc:"The app, {app_name}."`
	Priority string `query:"priority" enum:"bulk,urgent" doc:"Not of the Chat API: urgent never waits behind bulk."`
}

func (g *Gateway) registerDropIn() {
	const about = "The Chat API's own call, with no limit on the list: a backend moves over by changing its base URL. " +
		"The answer is the job, and what became of each target is in its results."
	drop := func(id, path string, o operation, read reading) {
		o.id, o.method, o.path, o.tag, o.about = id, http.MethodPost, "/{org}/{app}/messages"+path, tagDropIn, about
		o.success, o.slow, o.lenient, o.answers = http.StatusAccepted, true, true, g.created("The job", "The job that was there, under the Idempotency-Key")
		o.errors, o.tell = []int{400, 404, 408, 409, 413, 415, 422, 503}, inTheirWords
		register(g, o, func(ctx context.Context, in *call) (*accepted, error) {
			if err := g.checkApp(ctx, in.Org+"/"+in.App); err != nil {
				return nil, &untouched{err}
			}
			return g.create(ctx, in.KeyHeader, func(body io.Reader) (tasks.Document, error) {
				d, err := read(body)
				d.Options.Urgent = in.Priority == "urgent"
				return d, err
			})
		})
	}
	drop("send-unified", "", operation{
		summary: "Send a message (unified form)", body: describe[unifiedCall](g.api, "The body that the Chat API takes."),
	}, tasks.ReadUnified)
	for _, to := range apiclient.TargetTypes() {
		drop("send-"+string(to), "/"+string(to), operation{
			summary: "Send a message to " + string(to) + " (split form)", body: describe[splitCall](g.api, "The body that the Chat API takes."),
		}, func(body io.Reader) (tasks.Document, error) { return tasks.ReadSplit(body, to) })
	}
}

// appCache remembers which app the namespace belongs to.
type appCache struct {
	mu  sync.Mutex
	app string
	at  time.Time
}

// appKept is for how long: a namespace hardly ever changes hands.
const appKept = 10 * time.Second

// checkApp refuses a call for an app that is not the one to which all messages of
// this namespace go. Until the first worker has said which that is, every app will do.
func (g *Gateway) checkApp(ctx context.Context, app string) error {
	c := &g.apps
	c.mu.Lock()
	bound, fresh := c.app, time.Since(c.at) < appKept
	c.mu.Unlock()
	if !fresh {
		err := g.pressure.answers()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, quick)
		defer cancel()
		if bound, err = g.Ledger.App(ctx); err != nil {
			return err
		}
		c.mu.Lock()
		c.app, c.at = bound, time.Now()
		c.mu.Unlock()
	}
	if bound != "" && bound != app {
		return problem(http.StatusNotFound, "messages go to the app %s from here, not to %.140s", bound, app)
	}
	return nil
}

// inTheirWords adds what a client of the Chat API looks for in an error.
func inTheirWords(p *Problem) {
	p.Description = p.Detail
	switch p.Status {
	case http.StatusBadRequest:
		p.Name = "json_parse"
	case http.StatusNotFound:
		p.Name = "organization_application_not_found"
	case http.StatusServiceUnavailable, http.StatusInternalServerError:
		p.Name = "service_unavailable"
	default:
		p.Name = "illegal_argument"
	}
}
