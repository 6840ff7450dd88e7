package gateway

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"crier/internal/targets"
	"crier/internal/tasks"
)

// formats are the media types of lists.
var formats = map[string]targets.Format{
	"text/plain": targets.Text, "text/csv": targets.CSV, "application/csv": targets.CSV,
	"application/x-ndjson": targets.NDJSON, "application/ndjson": targets.NDJSON,
	"application/jsonl": targets.NDJSON, "application/x-jsonlines": targets.NDJSON,
}

type targetsQuery struct {
	JobPath
	Column      string `query:"column" doc:"Column of a CSV list, or member of NDJSON objects, that holds the names (default: target, username, user or id)."`
	SkipInvalid bool   `query:"skip_invalid" doc:"Leave invalid lines out and count them, instead of refusing the list."`
}

type added struct {
	Body struct {
		Added      int   `json:"added" doc:"Targets that the job did not have."`
		Duplicates int   `json:"duplicates" doc:"Names that it had, or that stand in the list again: they are sent to once."`
		Invalid    int   `json:"invalid" doc:"Invalid lines that were left out."`
		Total      int64 `json:"total" doc:"Targets of the job."`
	}
}

func (g *Gateway) registerTargets() {
	list := func(example string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: example}
	}
	register(g, operation{
		id: "add-targets", slow: true, method: http.MethodPost, path: "/v1/jobs/{id}/targets", tag: tagTargets, summary: "Add targets to a loading job",
		about: "A list of any length, read as it comes; it may be packed with gzip. All of it is added, or nothing where it breaks off " +
			"or has an invalid line: then send it again. A list that was added is known, so that sending it again changes nothing.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"text/plain": list("u1\nu2\n"), "text/csv": list("username,name\nu1,Ann\n"), "application/x-ndjson": list(`{"user":"u1"}` + "\n"),
		}},
		errors: []int{400, 404, 408, 409, 413, 415, 422, 503},
	}, g.addTargets)
	register(g, operation{
		id: "start-job", slow: true, method: http.MethodPost, path: "/v1/jobs/{id}/start", tag: tagTargets, summary: "Start a loading job",
		about: "It runs, or is scheduled. Starting it again changes nothing.", success: http.StatusAccepted,
		errors: []int{404, 409, 503},
	}, g.startJob)
}

func (g *Gateway) addTargets(ctx context.Context, in *targetsQuery) (*added, error) {
	r := exchangeOf(ctx).r
	media, _, err := mime.ParseMediaType(cmp.Or(r.Header.Get("Content-Type"), "text/plain"))
	format, known := formats[media]
	if err != nil || !known {
		return nil, problem(http.StatusUnsupportedMediaType, "Content-Type: must be text/plain, text/csv or application/x-ndjson")
	}
	options := targets.Options{Column: in.Column}
	if options.Gzip, err = isPacked(r); err != nil {
		return nil, err
	}
	load := g.newLoad(ctx)
	defer load.end()
	if err := load.admit(); err != nil {
		return nil, err
	}
	done, err := g.drafts.Extend(ctx, in.ID, tasks.Extension{
		Names: func(kind string) (tasks.Names, error) {
			options.Kind = kind
			reader, err := targets.NewReader(load.stream(), format, options)
			if err != nil {
				return nil, invalid("column", "%v", err)
			}
			return list{reader}, nil
		},
		SkipInvalid: in.SkipInvalid, Progress: load.progress,
	})
	if err != nil {
		return nil, err
	}
	var a added
	a.Body.Added, a.Body.Duplicates, a.Body.Total = done.Added, done.Duplicates, done.Total
	if done.Skipped != nil {
		a.Body.Invalid = done.Skipped.Count
	}
	return &a, nil
}

// list tells what is wrong with a list from what broke its stream.
type list struct{ *targets.Reader }

// Next gives the next name.
func (l list) Next() ([]byte, int, error) {
	name, line, err := l.Reader.Next()
	if err == nil {
		return name, line, nil
	}
	return nil, line, aboutList(err)
}

// aboutList tells the faults of lines, and of the request, from those of the whole
// list.
func aboutList(err error) error {
	var ofLine *targets.InvalidError
	var broken *bodyError
	var bound *Problem
	var column *targets.ColumnError
	if errors.As(err, &column) {
		return invalid("column", "there is none of the name %.80q, but %s", column.Column, column.Has)
	}
	if errors.Is(err, io.EOF) || errors.As(err, &ofLine) || errors.As(err, &broken) || errors.As(err, &bound) {
		return err
	}
	return &listError{err}
}

type startQuery struct {
	JobPath
	Total int64 `query:"total" default:"-1" minimum:"-1" doc:"Refuse to start unless the job has exactly so many targets; -1 = however many it has."`
}

func (g *Gateway) startJob(ctx context.Context, in *startQuery) (*status, error) {
	if err := g.drafts.Start(ctx, in.ID, in.Total); err != nil {
		return nil, err
	}
	s, err := tasks.ReadStatus(ctx, g.Ledger, g.Gate, in.ID)
	g.Log.Info("job loaded", "job", in.ID, "total", s.Total, "state", s.State)
	return &status{s}, err
}
