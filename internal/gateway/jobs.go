package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"crier/internal/ledger"
	"crier/internal/tasks"
)

// KeyHeader is the header that names a job from outside its document.
type KeyHeader struct {
	Key string `header:"Idempotency-Key" doc:"The job's id, in place of the one in the document: the same request again is then the same job." example:"spring-sale"`
}

// id is the job's id by the header and by the document: the one that is given.
func (h KeyHeader) id(given string) (string, error) {
	key := strings.Trim(h.Key, `"`) // some write it as a structured field
	switch {
	case h.Key == "":
		return given, nil
	case !tasks.ValidID(key):
		return "", invalid("Idempotency-Key", "%.140q must be 1 to 128 of A-Z a-z 0-9 . _ : - and begin with a letter or digit", h.Key)
	case given != "" && given != key:
		return "", invalid("id", "is not the Idempotency-Key")
	}
	return key, nil
}

// JobPath is the job that a call is about.
type JobPath struct {
	ID string `path:"id" doc:"The job's id." example:"spring-sale"`
}

// unknown reports an id that no job can have.
func (p JobPath) unknown() bool { return !tasks.ValidID(p.ID) }

// accepted is the answer to what makes a job, or would.
type accepted struct {
	Status   int    `json:"-"`
	Location string `header:"Location" doc:"Where the job's status is."`
	Body     tasks.Status
}

type status struct{ Body tasks.Status }

// jobsPath is where jobs are.
const jobsPath = "/v1/jobs"

func (g *Gateway) registerJobs() {
	register(g, operation{
		id: "create-job", slow: true, method: http.MethodPost, path: "/v1/jobs", tag: tagJobs, summary: "Make a job",
		about: "Takes a whole send job, or one without `target`, to which lists of targets are then added. " +
			"The same id with the same content is the same job; with other content it is a conflict.",
		body: g.jobBody(), success: http.StatusAccepted, answers: g.created("The job", "The job that was there, with the same id and content"),
		errors: []int{400, 408, 409, 413, 415, 422, 503},
	}, g.createJob)
	register(g, operation{
		id: "list-jobs", method: http.MethodGet, path: "/v1/jobs", tag: tagJobs, summary: "List jobs",
		about: "The newest first, a page at a time: follow next_cursor until it is null. A page may be short, or empty, where few of very many jobs are in the state.", errors: []int{422, 503},
	}, g.listJobs)
	register(g, operation{
		id: "get-job", method: http.MethodGet, path: "/v1/jobs/{id}", tag: tagJobs, summary: "Where a job stands",
		errors: []int{404, 503},
	}, g.getJob)
	register(g, operation{
		id: "plan", slow: true, method: http.MethodPost, path: "/v1/plan", tag: tagJobs, summary: "What a job would take",
		about: "Targets, calls, bytes, and the time at the quota. Nothing is stored.",
		body:  g.jobBody(), errors: []int{400, 408, 413, 415, 422, 503},
	}, g.plan)
}

func (g *Gateway) createJob(ctx context.Context, in *KeyHeader) (*accepted, error) {
	return g.create(ctx, *in, tasks.ReadDocument)
}

// create makes a job of the document in the request's body.
func (g *Gateway) create(ctx context.Context, key KeyHeader, read reading) (*accepted, error) {
	load := g.newLoad(ctx)
	defer load.end()
	d, err := load.read(key, read)
	if err != nil {
		return nil, err
	}
	if load.small() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, quick)
		defer cancel()
	}
	if d.Targets == nil {
		done, err := g.drafts.Begin(ctx, d)
		return g.answer(ctx, done, err)
	}
	done, err := g.submit.Submit(ctx, tasks.Submission{Document: d, Progress: load.progress})
	return g.answer(ctx, done, err)
}

// answer tells of a job that was made, or was there.
func (g *Gateway) answer(ctx context.Context, done tasks.Submitted, err error) (*accepted, error) {
	if errors.Is(err, tasks.ErrNotKnown) {
		p := problemOf(err)
		p.Job = done.ID
		return nil, p
	}
	if err != nil {
		return nil, &untouched{err}
	}
	a := &accepted{Status: http.StatusOK, Location: jobsPath + "/" + url.PathEscape(done.ID)}
	if done.Created {
		a.Status = http.StatusAccepted
		tasks.TellAccepted(g.Log, done, "http")
	}
	// The job is there, whether its status can be read or not, and so is the client.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()
	a.Body, err = tasks.ReadStatus(reading, g.Ledger, g.Gate, done.ID)
	if err != nil && done.Created {
		g.Log.Warn("the status of a job that was taken cannot be read", "job", done.ID, "error", err)
		a.Body, err = tasks.StatusOfNew(done), nil
	}
	return a, err
}

// statusTimeout is how long the status of a new job is worth waiting for.
const statusTimeout = 5 * time.Second

func (g *Gateway) getJob(ctx context.Context, in *JobPath) (*status, error) {
	s, err := tasks.ReadStatus(ctx, g.Ledger, g.Gate, in.ID)
	return &status{s}, err
}

// listQuery says which jobs to list.
type listQuery struct {
	State  string `query:"state" enum:"loading,scheduled,running,paused,finished,cancelled" doc:"Only jobs in this state."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
}

type page struct {
	Body struct {
		Jobs []tasks.Status `json:"jobs"`
		Next *string        `json:"next_cursor" doc:"For the next page; null on the last."`
	}
}

// maxLooked is how many jobs a page is looked for among: a second's work for Redis.
const maxLooked = 20_000

func (g *Gateway) listJobs(ctx context.Context, in *listQuery) (*page, error) {
	var p page
	p.Body.Jobs = []tasks.Status{}
	cursor, looked := "", 0
	for job, err := range g.Ledger.Jobs(ctx, in.Cursor) {
		switch looked++; {
		case errors.Is(err, ledger.ErrCursor):
			return nil, invalid("cursor", "is none that was given out here")
		case err != nil:
			return nil, err
		case looked > maxLooked:
			p.Body.Next = &cursor
			return &p, nil
		case in.State != "" && job.State != ledger.State(in.State):
			cursor = job.Cursor
			continue
		case len(p.Body.Jobs) == in.Limit: // there is one more
			p.Body.Next = &cursor
			return &p, nil
		}
		s, err := tasks.NewStatus(ctx, g.Gate, job)
		if err != nil {
			return nil, err
		}
		p.Body.Jobs, cursor = append(p.Body.Jobs, s), job.Cursor
	}
	return &p, nil
}

type plan struct{ Body tasks.Plan }

func (g *Gateway) plan(ctx context.Context, _ *struct{}) (*plan, error) {
	load := g.newLoad(ctx)
	load.plan = true
	defer load.end()
	d, err := load.read(KeyHeader{}, tasks.ReadDocument)
	if err != nil {
		return nil, err
	}
	p, err := g.submit.Plan(ctx, tasks.Submission{Document: d, Progress: load.progress})
	return &plan{p}, err
}

// jobBody describes the document.
func (g *Gateway) jobBody() *huma.RequestBody { return describe[jobDocument](g.api, "A send job.") }
