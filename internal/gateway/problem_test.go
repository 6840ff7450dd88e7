package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
	"crier/internal/ledger"
	"crier/internal/targets"
	"crier/internal/tasks"
)

// redisError is what a Redis says.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

var _ redis.Error = redisError("")

// What went wrong decides what a client is told to do: mend its request, or come again.
func TestProblemOf(t *testing.T) {
	field := func(name, problem string) apiclient.FieldError {
		return apiclient.FieldError{Field: name, Problem: problem}
	}
	unexpected := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for name, tt := range map[string]struct {
		err    error
		status int
		again  string // Retry-After
		fields string // names of the fields
		say    string
	}{
		"a problem itself": {err: invalid("column", "is none"), status: 422, fields: "column", say: "is none"},
		"too large":        {err: &bodyError{&http.MaxBytesError{Limit: 7}}, status: 413, say: "7 bytes"},
		"stalled":          {err: &bodyError{os.ErrDeadlineExceeded}, status: 408, say: "nothing was stored"},
		"cut off":          {err: &bodyError{io.ErrUnexpectedEOF}, status: 400, say: "nothing was stored"},
		"reset":            {err: &bodyError{unexpected}, status: 400, say: "nothing was stored"},
		"bad gzip":         {err: packedError(errors.New("invalid header")), status: 400, say: "gzip"},
		"list":             {err: &listError{errors.New("has no column phone")}, status: 422, say: "has no column phone"},

		"no JSON":       {err: &tasks.SyntaxError{Line: 2, Column: 3, Problem: "odd"}, status: 400, say: "line 2, column 3"},
		"wrong fields":  {err: &tasks.InvalidError{Faults: []apiclient.FieldError{field("msg.url", "is required"), field("from", "must be a string")}}, status: 422, fields: "msg.url from", say: "nothing was stored"},
		"wrong targets": {err: &tasks.NamesError{Count: 9, Faults: []error{field("target[3]", "must be a string")}}, status: 422, fields: "target[3]", say: "9 of the targets"},
		"wrong lines":   {err: &tasks.NamesError{Count: 1, Faults: []error{&targets.InvalidError{Line: 7, Text: `"u 1"`, Problem: "has a space"}}}, status: 422, fields: "line 7"},

		"no job":     {err: ledger.ErrNotFound, status: 404},
		"conflict":   {err: ledger.ErrConflict, status: 409, fields: "id"},
		"state":      {err: &ledger.StateError{State: ledger.StateFinished, Asked: "pause"}, status: 409, say: "finished"},
		"active":     {err: ledger.ErrActive, status: 409, say: "cancel it first"},
		"held":       {err: ledger.ErrHeld, status: 409, again: "2"},
		"unsettled":  {err: ledger.ErrUnsettled, status: 409, again: "2"},
		"no targets": {err: ledger.ErrEmpty, status: 409, say: "no targets"},
		"text gone":  {err: tasks.ErrTextGone, status: 409},
		"nobody":     {err: tasks.ErrNobody, status: 409},
		"busy":       {err: ledger.ErrBusy, status: 503, again: "2"},
		"fenced":     {err: ledger.ErrFenced, status: 503, again: "2", say: "nothing of it was stored"},
		"lost":       {err: ledger.ErrLost, status: 503, again: "2"},

		"not known":       {err: fmt.Errorf("%w whether: %w", tasks.ErrNotKnown, unexpected), status: 503, again: "2", say: "same id"},
		"Redis loads":     {err: redisError("LOADING Redis is loading the dataset in memory"), status: 503, again: "10"},
		"Redis is a copy": {err: redisError("READONLY You can't write against a read only replica."), status: 503, again: "10"},
		"Redis is away":   {err: &untouched{unexpected}, status: 503, again: "10", say: "nothing was stored"},
		"Redis went away": {err: unexpected, status: 503, again: "10", say: "repeat the request"},
		"Redis broke off": {err: io.ErrUnexpectedEOF, status: 503, again: "10", say: "repeat the request"},
		"Redis has gone":  {err: io.EOF, status: 503, again: "10"},
		"Redis is slow":   {err: context.DeadlineExceeded, status: 503, again: "10"},
		"busy client":     {err: redis.ErrPoolTimeout, status: 503, again: "10"},

		"anything else": {err: errors.New("s3cret detail"), status: 500, say: "see the log"},
	} {
		t.Run(name, func(t *testing.T) {
			p := problemOf(fmt.Errorf("wrapped: %w", tt.err))
			if p.Status != tt.status || p.Title != http.StatusText(tt.status) || !strings.Contains(p.Detail, tt.say) {
				t.Errorf("%+v", p)
			}
			if got := p.GetHeaders().Get("Retry-After"); got != tt.again {
				t.Errorf("Retry-After %q, want %q", got, tt.again)
			}
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Location)
				if e.Message == "" {
					t.Errorf("%s: no words", e.Location)
				}
			}
			if diff := cmp.Diff(tt.fields, strings.Join(fields, " ")); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if tt.status == 500 && strings.Contains(p.Detail, "s3cret") {
				t.Errorf("a client is told of the inside: %s", p.Detail)
			}
		})
	}
}

// Answers to the Chat API's calls have the words of its errors, too.
func TestInTheirWords(t *testing.T) {
	for status, want := range map[int]string{
		400: "json_parse", 404: "organization_application_not_found", 409: "illegal_argument", 413: "illegal_argument",
		422: "illegal_argument", 503: "service_unavailable",
	} {
		p := problem(status, "what is wrong")
		if inTheirWords(p); p.Name != want || p.Description != "what is wrong" {
			t.Errorf("%d: %q, %q", status, p.Name, p.Description)
		}
	}
}
