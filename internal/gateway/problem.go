package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/ledger"
	"crier/internal/targets"
	"crier/internal/tasks"
)

// Problem is what every error looks like: RFC 9457, media type
// application/problem+json.
type Problem struct {
	huma.ErrorModel
	// Job is the id of the job that the request was about, where the client did
	// not give one and may need it.
	Job string `json:"job,omitempty" doc:"The id under which the job may have been stored: repeat the request with it as Idempotency-Key."`
	// Name and Description are what the Chat API calls them, in answers to its own calls.
	Name        string `json:"error,omitempty" doc:"As in the Chat API's errors; in answers to its own calls only."`
	Description string `json:"error_description,omitempty" doc:"As in the Chat API's errors; in answers to its own calls only."`

	retryAfter time.Duration // 0 = repeating it helps nothing
}

// GetHeaders gives the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retryAfter.Seconds())))
	}
	return h
}

func problem(status int, format string, args ...any) *Problem {
	return &Problem{ErrorModel: huma.ErrorModel{
		Status: status, Title: http.StatusText(status), Detail: fmt.Sprintf(format, args...),
	}}
}

// again says that the same request may succeed after some time.
func (p *Problem) again(after time.Duration) *Problem {
	p.retryAfter = after
	return p
}

// fields names what is wrong, each fault by its field.
func (p *Problem) fields(faults ...apiclient.FieldError) *Problem {
	for _, f := range faults {
		p.Errors = append(p.Errors, &huma.ErrorDetail{Location: f.Field, Message: f.Problem})
	}
	return p
}

// invalid is about a single field of a request.
func invalid(field, format string, args ...any) *Problem {
	f := apiclient.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
	return problem(http.StatusUnprocessableEntity, "%v", f).fields(f)
}

// bodyError is what broke the stream of a request's body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "reading the request: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// untouched is an error after which nothing was stored.
type untouched struct{ err error }

func (e *untouched) Error() string { return e.err.Error() }
func (e *untouched) Unwrap() error { return e.err }

// listError is what keeps a whole list from being read, such as an absent column.
type listError struct{ err error }

func (e *listError) Error() string { return e.err.Error() }
func (e *listError) Unwrap() error { return e.err }

// How long clients are asked to wait.
const (
	soon  = 2 * time.Second  // for other clients, or another request
	later = 10 * time.Second // for Redis
)

// problemOf says what an error means for the client.
func problemOf(err error) *Problem {
	var done *Problem
	if errors.As(err, &done) {
		return done
	}
	for _, about := range []func(error) *Problem{aboutEnd, aboutRequest, aboutDocument, aboutJob, aboutRedis} {
		if p := about(err); p != nil {
			return p
		}
	}
	return problem(http.StatusInternalServerError, "an error that should not happen, see the log")
}

// aboutEnd finds that the last step was done, or not: nobody knows.
func aboutEnd(err error) *Problem {
	if !errors.Is(err, tasks.ErrNotKnown) {
		return nil
	}
	return problem(http.StatusServiceUnavailable, "Redis did not answer in the end, so it is not known whether this was stored: "+
		"repeat the request, with the same id").again(soon)
}

// aboutRequest finds what is wrong with the request as such.
func aboutRequest(err error) *Problem {
	var broken *bodyError
	var tooLarge *http.MaxBytesError
	var list *listError
	switch {
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", tooLarge.Limit)
	case errors.As(err, &broken) && errors.Is(err, os.ErrDeadlineExceeded):
		return problem(http.StatusRequestTimeout, "the request did not come in time; nothing was stored")
	case errors.As(err, &broken), errors.As(err, &list) && errors.Is(err, io.ErrUnexpectedEOF): // gzip data without an end
		return problem(http.StatusBadRequest, "the request broke off, nothing was stored: %v", err)
	case errors.As(err, &list):
		return problem(http.StatusUnprocessableEntity, "the list cannot be read, nothing was stored: %v", err)
	}
	return nil
}

// aboutDocument finds what is wrong with a document or a list.
func aboutDocument(err error) *Problem {
	var syntax *tasks.SyntaxError
	var wrong *tasks.InvalidError
	var names *tasks.NamesError
	switch {
	case errors.As(err, &syntax):
		return problem(http.StatusBadRequest, "%v", syntax)
	case errors.As(err, &wrong):
		return problem(http.StatusUnprocessableEntity, "nothing was stored: %v", wrong).fields(wrong.Faults...)
	case errors.As(err, &names):
		p := problem(http.StatusUnprocessableEntity, "nothing was stored, %d of the targets are invalid", names.Count)
		for _, err := range names.Faults {
			p = p.fields(faultOfName(err))
		}
		return p
	}
	return nil
}

func faultOfName(err error) apiclient.FieldError {
	var field apiclient.FieldError
	var line *targets.InvalidError
	switch {
	case errors.As(err, &field):
		return field
	case errors.As(err, &line):
		problem := line.Problem
		if line.Text != "" {
			problem = line.Text + " " + problem
		}
		return apiclient.FieldError{Field: "line " + strconv.Itoa(line.Line), Problem: problem}
	default:
		return apiclient.FieldError{Field: "target", Problem: err.Error()}
	}
}

// aboutJob finds what keeps a job from being what the request asks for.
func aboutJob(err error) *Problem {
	var state *ledger.StateError
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return problem(http.StatusNotFound, "there is no such job, or the time has passed for which its record is kept")
	case errors.Is(err, ledger.ErrConflict):
		return problem(http.StatusConflict, "the id belongs to a job with other content; nothing was changed").
			fields(apiclient.FieldError{Field: "id", Problem: "belongs to a job with other content"})
	case errors.As(err, &state):
		return problem(http.StatusConflict, "the job is %s: it cannot be told to %s", state.State, state.Asked)
	case errors.Is(err, ledger.ErrActive):
		return problem(http.StatusConflict, "the job has not ended: cancel it first")
	case errors.Is(err, ledger.ErrHeld), errors.Is(err, ledger.ErrUnsettled):
		return problem(http.StatusConflict, "workers are still at the last calls of the job").again(soon)
	case errors.Is(err, ledger.ErrEmpty):
		return problem(http.StatusConflict, "the job has no targets yet")
	case errors.Is(err, tasks.ErrTextGone), errors.Is(err, tasks.ErrNobody):
		return problem(http.StatusConflict, "%v", err)
	case errors.Is(err, ledger.ErrBusy):
		return problem(http.StatusServiceUnavailable, "another request is at work on this job").again(soon)
	case errors.Is(err, ledger.ErrFenced), errors.Is(err, ledger.ErrLost):
		return problem(http.StatusServiceUnavailable, "the request took so long that it lost its hold of the job; nothing of it was stored").again(soon)
	}
	return nil
}

// aboutRedis finds what is wrong with the place where jobs are kept.
func aboutRedis(err error) *Problem {
	var said redis.Error
	var network net.Error
	switch {
	case redis.IsOOMError(err):
		return problem(http.StatusServiceUnavailable, "Redis is full, nothing was stored").again(later)
	case errors.As(err, &said), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		what := "repeat the request: if it was carried out after all, that changes nothing"
		if nothing := (*untouched)(nil); errors.As(err, &nothing) {
			what = "nothing was stored"
		}
		return problem(http.StatusServiceUnavailable, "Redis does not answer as it should; %s", what).again(later)
	}
	return nil
}
