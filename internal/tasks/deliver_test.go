package tasks

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
	"crier/internal/redistest"
)

// onWarning calls itself for every record.
type onWarning func()

func (onWarning) Enabled(context.Context, slog.Level) bool    { return true }
func (f onWarning) Handle(context.Context, slog.Record) error { f(); return nil }
func (f onWarning) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f onWarning) WithGroup(string) slog.Handler             { return f }

// heldDelivery is a delivery for which no call is granted.
func heldDelivery(stop context.Context, t *testing.T, log *slog.Logger, todo ...batch) *delivery {
	t.Helper()
	g := gate.New(redistest.Start(t).Client(), unpaced())
	if _, err := g.Report(t.Context(), "users", false, gate.Hold{Reason: gate.ReasonPlan, Base: time.Hour, Max: time.Hour}); err != nil {
		t.Fatal(err)
	}
	m := NewMetrics(prometheus.NewRegistry(), apiclient.FormUnified)
	w := &Worker{gate: g, metrics: m, log: log, recording: t.Context()}
	limits := DefaultLimits(apiclient.FormUnified)
	w.inForce.Store(&limits)
	document, err := ParseDocument([]byte(`{"target":["x"],` + hello + `}`))
	if err != nil {
		t.Fatal(err)
	}
	s := &slot{
		Worker: w, document: document, stop: stop, log: log, job: ledger.Job{Spec: ledger.Spec{ID: "j", TargetType: "users"}},
		dispatch: newDispatcher(t.Context(), g, "bulk", 4, 1, m, log),
	}
	c, err := newCampaign(document, &limits)
	if err != nil {
		t.Fatal(err)
	}
	return newDelivery(s, &ledger.Segment{Name: "s"}, &c, todo)
}

// The slot's time ends while batches are being offered.
func TestStopWhileOffering(t *testing.T) {
	stop, end := context.WithCancel(t.Context())
	fits := batch{lines: []byte("a\n"), index: []int32{0}}
	unfit := batch{lines: []byte(strings.Repeat("x", 9000) + "\n"), index: []int32{1}} // which is logged
	d := heldDelivery(stop, t, slog.New(onWarning(end)), unfit, fits)
	ended := make(chan struct{})
	go func() { d.run(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if len(d.todo) != 2 || len(d.offered) != 0 {
		t.Errorf("%d batches are left and %d offered", len(d.todo), len(d.offered))
	}
}

// A batch becomes due between the look for due ones and the look at the clock.
func TestDueWhileOffering(t *testing.T) {
	d := heldDelivery(t.Context(), t, slog.New(slog.DiscardHandler), batch{lines: []byte("a\n"), index: []int32{0}})
	woken := make(chan bool)
	go func() { woken <- d.wait(t.Context().Done(), untilDue(d.todo, time.Now())) }()
	select {
	case turn := <-woken:
		if turn {
			t.Error("nothing is to be recorded")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it sleeps")
	}
}
