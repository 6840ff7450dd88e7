package tasks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/ledger"
)

// again is Resend by a submitter of the rig.
func (r *rig) again(ctx context.Context, what Resend) (Submitted, error) {
	s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace)}
	return s.Resend(ctx, what)
}

// settle records what became of the targets of a job, by their index in it.
// Fresh ones stay as they are.
func (r *rig) settle(id string, code func(i int) ledger.Code) {
	r.t.Helper()
	ctx, book := r.t.Context(), r.ledger()
	job, err := book.Job(ctx, id)
	for base := 0; err == nil && base < int(job.Total); {
		var s *ledger.Segment
		if s, _, err = book.Claim(ctx, job, book.Token()); err != nil || s == nil {
			break
		}
		index := map[ledger.Code][]int32{}
		for i := range s.Count {
			if c := code(base + i); c != ledger.Fresh {
				index[c] = append(index[c], int32(i))
			}
		}
		var updates []ledger.Update
		for c, of := range index {
			updates = append(updates, ledger.Update{Index: of, Code: c, Attempts: 1})
		}
		if _, err = s.Commit(ctx, ledger.Tally{Calls: 1}, updates...); err == nil {
			err = s.Release(ctx, time.Hour.Milliseconds()) // so that it is not claimed again
		}
		base += s.Count
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// all is for settle: the same for each target.
func all(c ledger.Code) func(int) ledger.Code { return func(int) ledger.Code { return c } }

func (r *rig) keys() []string {
	r.t.Helper()
	keys, err := r.redis.Client().Keys(r.t.Context(), "*").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return keys
}

// The targets of a running job of three segments are told apart by outcome, and
// the new job is in all but its times what the old one was.
func TestResend(t *testing.T) {
	r := newRig(t, nil)
	const about = `"target_type":"users","msg":{"type":"txt","msg":"grüße"},"from":"shop","ext":{"a":[1,{"b":"é"}]},"sync_device":true,` +
		`"options":{"name":"Sale","weight":3,"max_rate":500,"on_unknown":"hold"%s}`
	const size = 25_000
	r.submit(`{"id":"old",`+fmt.Sprintf(about, `,"send_at":"2020-01-01T00:00:00Z","expires_at":"2999-01-01T00:00:00Z"`)+`}`, r.numbered(size))
	codes := []ledger.Code{
		ledger.Sent, ledger.Rejected, ledger.AnswerLost, ledger.Cancelled, ledger.Fresh, ledger.InFlight, ledger.GaveUp, ledger.Lost, ledger.Expired,
	}
	r.settle("old", func(i int) ledger.Code { return codes[i%len(codes)] })

	without, err := ParseDocument([]byte(`{` + fmt.Sprintf(about, "") + `}`))
	if err != nil {
		t.Fatal(err)
	}
	document, err := without.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	const failed, unknown, cancelled = ledger.OutcomeFailed, ledger.OutcomeUnknown, ledger.OutcomeCancelled
	for name, outcomes := range map[string][]ledger.Outcome{
		"failed": {failed}, "unknown": {unknown}, "cancelled": {cancelled}, "all": {cancelled, failed, unknown, failed}, "by default": nil,
	} {
		t.Run(name, func(t *testing.T) {
			wanted := map[ledger.Outcome]bool{failed: outcomes == nil, unknown: outcomes == nil}
			for _, o := range outcomes {
				wanted[o] = true
			}
			var want []string
			for i := range size {
				if wanted[codes[i%len(codes)].Outcome()] {
					want = append(want, fmt.Sprintf("customer-%06d", i))
				}
			}
			told := 0
			done, err := r.again(t.Context(), Resend{Of: "old", Outcomes: outcomes, Progress: func(n int) error {
				told = n
				return nil
			}})
			if err != nil || !done.Created || done.Total != len(want) || done.Duplicates != 0 || told != len(want) || done.ID == "old" {
				t.Fatalf("%+v, %d told, want %d; %v", done, told, len(want), err)
			}
			var got []string
			for row, err := range r.book.Rows(t.Context(), done.ID) {
				if err != nil || row.Outcome != ledger.OutcomePending {
					t.Fatalf("%+v, %v", row, err)
				}
				got = append(got, row.Target)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("targets (-want +got):\n%.1000s", diff)
			}
			if text, err := r.book.Document(t.Context(), done.ID); err != nil || string(text) != string(document) {
				t.Errorf("document %s, want %s; %v", text, document, err)
			}
			job, err := r.book.Job(t.Context(), done.ID)
			spec := ledger.Spec{ID: done.ID, Name: "Sale", TargetType: "users", Weight: 3, Hold: true, MaxRate: 500, ResendOf: "old"}
			if diff := cmp.Diff(spec, job.Spec); err != nil || diff != "" || job.State != ledger.StateRunning {
				t.Errorf("%v, %s, (-want +got):\n%s", err, job.State, diff)
			}
			if s, err := NewStatus(t.Context(), r.gate, job); err != nil || s.ResendOf == nil || *s.ResendOf != "old" {
				t.Errorf("status %+v, %v", s, err)
			}
		})
	}
}

// The same id again is the same job while the outcomes are the same, and which
// job the targets come from makes no difference.
func TestResendIsIdempotent(t *testing.T) {
	r := newRig(t, nil)
	r.submit(`{"id":"old","target":["u1","u2","u3"],`+hello+`}`, nil)
	r.settle("old", func(i int) ledger.Code { return []ledger.Code{ledger.Sent, ledger.Rejected, ledger.AnswerLost}[i] })
	what := Resend{Of: "old", ID: "new"}
	for _, created := range []bool{true, false, false} {
		if done, err := r.again(t.Context(), what); err != nil || done.ID != "new" || done.Created != created || done.Total != 2 {
			t.Errorf("%+v, %v", done, err)
		}
	}
	if done := r.submit(`{"id":"new","target":["u2","u3"],`+hello+`}`, nil); done.Created {
		t.Error("the content is another where the targets are given by name")
	}
	what.Outcomes = []ledger.Outcome{ledger.OutcomeFailed}
	if _, err := r.again(t.Context(), what); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("other targets: %v", err)
	}
	if job, err := r.book.Job(t.Context(), "new"); err != nil || job.ResendOf != "old" || job.Total != 2 {
		t.Errorf("%+v, %v", job, err)
	}
}

// What cannot be sent again is said, and nothing is stored.
func TestResendRefuses(t *testing.T) {
	r := newRig(t, nil)
	const urgent = `"target":["u1","u2"],"options":{"priority":"urgent"},` + hello
	r.submit(`{"id":"sent","target":["u1"],`+hello+`}`, nil)
	r.settle("sent", all(ledger.Sent))
	r.submit(`{"id":"fresh","target":["u1"],`+hello+`}`, nil)
	r.submit(`{"id":"lost","target":["u1"],`+hello+`}`, nil)
	r.settle("lost", all(ledger.AnswerLost))
	r.submit(`{"id":"code",`+urgent+`}`, nil)
	r.settle("code", all(ledger.Rejected))
	before := r.keys()
	outcomes := func(list ...ledger.Outcome) []ledger.Outcome { return list }
	for name, tt := range map[string]struct {
		what   Resend
		kind   error // nil: an *InvalidError
		faults string
	}{
		"no such job":      {Resend{Of: "nobody"}, ledger.ErrNotFound, `"nobody"`},
		"urgent":           {Resend{Of: "code"}, ErrTextGone, `job "code": its text is gone`},
		"all sent":         {Resend{Of: "sent"}, ErrNobody, `job "sent": there is nobody to send to again: no target is failed or unknown`},
		"nothing happened": {Resend{Of: "fresh"}, ErrNobody, `job "fresh"`},
		"none of that":     {Resend{Of: "lost", Outcomes: outcomes(ledger.OutcomeFailed)}, ErrNobody, "no target is failed"},
		"sent":             {Resend{Of: "sent", Outcomes: outcomes(ledger.OutcomeSent)}, nil, `outcome: must be one of failed, unknown, cancelled, but is "sent"`},
		"pending":          {Resend{Of: "fresh", Outcomes: outcomes(ledger.OutcomeFailed, ledger.OutcomePending)}, nil, `but is "pending"`},
		"no outcome":       {Resend{Of: "lost", Outcomes: outcomes("")}, nil, `but is ""`},
		"no id":            {Resend{Of: "lost", ID: "a b"}, nil, "id: must be 1 to 128 of"},
		"no text":          {Resend{Of: "lost", ID: "a\xff"}, nil, "id: must be 1 to 128 of"},
		"its own id":       {Resend{Of: "lost", ID: "lost"}, nil, "id: must be another"},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := r.again(t.Context(), tt.what)
			var invalid *InvalidError
			if tt.kind != nil && !errors.Is(err, tt.kind) || tt.kind == nil && !errors.As(err, &invalid) {
				t.Fatalf("%+v, %v", done, err)
			}
			if !strings.Contains(err.Error(), tt.faults) {
				t.Errorf("error %v, want %q", err, tt.faults)
			}
			if got := r.keys(); len(got) != len(before) {
				t.Errorf("keys %q, before %q", got, before)
			}
		})
	}
}

// An urgent job that still runs has its text, and the new job is urgent, too.
func TestResendUrgent(t *testing.T) {
	r := newRig(t, nil)
	r.submit(`{"id":"code","target":["u1","u2"],"options":{"priority":"urgent"},`+hello+`}`, nil)
	r.settle("code", func(i int) ledger.Code { return []ledger.Code{ledger.Rejected, ledger.Fresh}[i] })
	done, err := r.again(t.Context(), Resend{Of: "code"})
	if err != nil || done.Total != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if job, err := r.book.Job(t.Context(), done.ID); err != nil || !job.Urgent {
		t.Errorf("%+v, %v", job, err)
	}
}

// A small job that has ended is kept in one key, its names too; what is sent
// again from it can be sent again itself.
func TestResendSmall(t *testing.T) {
	r := newRig(t, nil)
	r.submit(`{"id":"0","target":["u1","u2"],`+hello+`}`, nil)
	for n := range 3 {
		of, id := fmt.Sprint(n), fmt.Sprint(n+1)
		r.settle(of, all(ledger.Rejected))
		if kept, err := r.redis.Client().Exists(t.Context(), "crier:{"+of+"}:names").Result(); err != nil || kept != 0 {
			t.Fatalf("job %s is not kept in one key (%v): this test tests nothing", of, err)
		}
		if done, err := r.again(t.Context(), Resend{Of: of, ID: id}); err != nil || done.Total != 2 {
			t.Errorf("job %s: %+v, %v", id, done, err)
		}
		if job, err := r.book.Job(t.Context(), id); err != nil || job.ResendOf != of {
			t.Errorf("job %s: %+v, %v", id, job, err)
		}
	}
}

// A list that changes hands, or whose reader gives up, while it is read becomes
// no job.
func TestResendBrokenOff(t *testing.T) {
	const size = 25_000
	for name, tt := range map[string]struct {
		happens func(r *rig, stop func()) error // while the first segment is read
		want    error
	}{
		"gives up": {func(_ *rig, stop func()) error { stop(); return nil }, context.Canceled},
		"deleted":  {func(r *rig, _ func()) error { return r.book.Delete(r.t.Context(), "old") }, ledger.ErrNotFound},
		"replaced": {func(r *rig, _ func()) error {
			err := r.book.Delete(r.t.Context(), "old")
			r.submit(`{"id":"old",`+strings.Replace(hello, `"hello"`, `"bye"`, 1)+`}`, r.numbered(size))
			r.settle("old", all(ledger.Rejected))
			return err
		}, ledger.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.submit(`{"id":"old",`+hello+`}`, r.numbered(size))
			r.settle("old", all(ledger.Rejected))
			ctx, cancel := context.WithCancel(t.Context())
			happened := false
			_, err := r.again(ctx, Resend{Of: "old", ID: "new", Progress: func(int) error {
				if happened {
					return nil
				}
				happened = true
				return tt.happens(r, cancel)
			}})
			if !errors.Is(err, tt.want) || !happened {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			for _, key := range r.keys() {
				if strings.Contains(key, "new") {
					t.Errorf("stored: %s", key)
				}
			}
		})
	}
}
