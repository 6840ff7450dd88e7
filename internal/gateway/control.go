package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"crier/internal/ledger"
	"crier/internal/tasks"
)

const (
	// settleWait is how long cancel waits for what workers hold: they let go within
	// a second and the time of their calls.
	settleWait = 3500 * time.Millisecond
	// deleteWait is how long delete waits for them.
	deleteWait = 5 * time.Second
)

func (g *Gateway) registerControl() {
	for _, o := range []struct {
		name, about string
		ask         func(context.Context, string) (ledger.Change, error)
	}{
		{"pause", "No more calls begin, until it is resumed; those in flight finish and count.", g.control.Pause},
		{"resume", "A paused job goes on where it was, at once or at its send_at.", g.control.Resume},
		{"cancel", "What is not sent yet is cancelled. Targets that workers hold follow when their calls in flight have ended.", g.cancel},
	} {
		register(g, operation{
			id: o.name + "-job", method: http.MethodPost, path: "/v1/jobs/{id}/" + o.name, tag: tagJobs,
			summary: strings.ToUpper(o.name[:1]) + o.name[1:] + " a job", about: o.about, errors: []int{404, 409, 503},
		}, func(ctx context.Context, in *JobPath) (*status, error) {
			change, err := o.ask(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			if change.Was != change.Is {
				g.Log.Info("job changed", "job", in.ID, "asked", o.name, "was", change.Was, "state", change.Is)
			}
			s, err := tasks.ReadStatus(ctx, g.Ledger, g.Gate, in.ID)
			return &status{s}, err
		})
	}
	register(g, operation{
		id: "resend-job", slow: true, method: http.MethodPost, path: "/v1/jobs/{id}/resend", tag: tagJobs, summary: "Send again to those not reached",
		about: "Makes a new job with the same message and options, at once and without expires_at.", success: http.StatusAccepted,
		answers: g.created("The new job", "The job that was there, under the Idempotency-Key"), errors: []int{404, 409, 422, 503},
	}, g.resend)
	register(g, operation{
		id: "delete-job", method: http.MethodDelete, path: "/v1/jobs/{id}", tag: tagJobs, summary: "Remove a job's record",
		about:  "Of a job that has ended, or of which nothing was sent yet. Its id is free again.",
		errors: []int{404, 409, 503}, success: http.StatusNoContent,
	}, func(ctx context.Context, in *JobPath) (*struct{}, error) {
		err := g.control.Delete(ctx, in.ID, deleteWait)
		if err == nil {
			g.Log.Info("job deleted", "job", in.ID)
		}
		return nil, err
	})
	register(g, operation{
		id: "get-results", slow: true, method: http.MethodGet, path: "/v1/jobs/{id}/results", tag: tagJobs, summary: "What became of each target",
		about: "A row for each target, as a stream: CSV, or NDJSON if Accept asks for it. A stream that breaks off is not the whole list.",
		answers: map[string]*huma.Response{"200": {Description: "The rows", Content: map[string]*huma.MediaType{
			string(mediaCSV): {Schema: &huma.Schema{Type: huma.TypeString}}, string(mediaNDJSON): {Schema: &huma.Schema{Type: huma.TypeString}},
		}}},
		errors: []int{404, 406, 422, 503},
	}, g.results)
}

func (g *Gateway) cancel(ctx context.Context, id string) (ledger.Change, error) {
	change, err := g.control.Cancel(ctx, id)
	if err == nil {
		_, err = g.control.Settle(ctx, []string{id}, settleWait)
	}
	return change, err
}

type resendQuery struct {
	JobPath
	KeyHeader
	Outcome string `query:"outcome" doc:"Only targets with these outcomes: failed, unknown, cancelled." default:"failed,unknown"`
}

func (g *Gateway) resend(ctx context.Context, in *resendQuery) (*accepted, error) {
	wanted, err := tasks.ParseOutcomes(in.Outcome, tasks.Resendable())
	if err != nil {
		return nil, invalid("outcome", "%v", err)
	}
	id, err := in.id("")
	if err != nil {
		return nil, err
	}
	load := g.newLoad(ctx)
	defer load.end()
	if err := load.admit(); err != nil {
		return nil, err
	}
	done, err := g.submit.Resend(ctx, tasks.Resend{Of: in.ID, Outcomes: wanted, ID: id, Progress: load.progress})
	return g.answer(ctx, done, err)
}

const (
	mediaCSV    = "text/csv"
	mediaNDJSON = "application/x-ndjson"
)

type resultsQuery struct {
	JobPath
	Outcome string `query:"outcome" doc:"Only targets with these outcomes: pending, sent, failed, unknown, cancelled." example:"failed,unknown"`
	Accept  string `header:"Accept" doc:"text/csv or application/x-ndjson."`
}

func (g *Gateway) results(ctx context.Context, in *resultsQuery) (*huma.StreamResponse, error) {
	wanted, err := tasks.ParseOutcomes(in.Outcome, ledger.Outcomes())
	if err != nil {
		return nil, invalid("outcome", "%v", err)
	}
	media, format := mediaCSV, tasks.ResultsCSV
	switch accepts(in.Accept) {
	case mediaCSV:
	case mediaNDJSON:
		media, format = mediaNDJSON, tasks.ResultsNDJSON
	default:
		return nil, problem(http.StatusNotAcceptable, "Accept: results are text/csv or application/x-ndjson")
	}
	if _, err := g.Ledger.Job(ctx, in.ID); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", media+"; charset=utf-8")
		err := tasks.WriteResults(ctx, g.Ledger, in.ID, wanted, format, c.BodyWriter())
		if err != nil {
			if ctx.Err() == nil {
				g.Log.Warn("results broke off", "job", in.ID, "error", err)
			}
			panic(http.ErrAbortHandler) // the client must not take what it has for the whole
		}
	}}, nil
}

// accepts is the media type of results that a client likes best, or "".
func accepts(header string) string {
	csv := []string{mediaCSV, "text/*", "*/*"}
	ndjson := []string{mediaNDJSON, "application/ndjson", "application/jsonl", "application/json", "application/*"}
	// Its first choice would win any tie; with none, that is for the client to say.
	choices := slices.Concat([]string{""}, csv, ndjson)
	best := negotiation.SelectQValue(strings.ToLower(cmp.Or(header, mediaCSV)), choices)
	switch {
	case slices.Contains(csv, best):
		return mediaCSV
	case best != "":
		return mediaNDJSON
	default:
		return ""
	}
}
