package tasks

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

func (r *rig) plan(document string, names Names) Plan {
	r.t.Helper()
	p, err := r.tryPlan(document, names)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) tryPlan(document string, names Names) (Plan, error) {
	d, err := ParseDocument([]byte(document))
	if err != nil {
		return Plan{}, err
	}
	s := Submitter{Ledger: r.book, Queue: NewQueue(r.redis.Client(), r.cfg.Namespace), Gate: r.gate}
	return s.Plan(r.t.Context(), Submission{Document: d, Names: names})
}

// publish stores the limits of a worker that knows this quota.
func (r *rig) publish(maxBody, maxUsers int, quota string) {
	r.t.Helper()
	text := fmt.Sprintf(`{"form":"unified","max_body":%d,"max_message":4096,"max_targets":{"users":%d},"quota":%q}`, maxBody, maxUsers, quota)
	if err := r.book.PublishLimits(r.t.Context(), []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

// Calls, bytes and all else that a plan tells are those of the job.
func TestPlanIsWhatASendTakes(t *testing.T) {
	for name, limit := range map[string]struct{ maxBody, maxUsers int }{
		"bytes bind":   {1024, 600},
		"targets bind": {5120, 190},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.cfg.Limits.MaxBody = limit.maxBody
			r.cfg.Limits.MaxTargets[apiclient.Users] = limit.maxUsers
			_, registry, stop := r.start()
			document := `{"id":"j1",` + hello + `}`
			p := r.plan(document, r.numbered(25_000))
			if p.LimitsFrom != LimitsOfWorker || p.MaxBody != limit.maxBody || p.MaxTargets != limit.maxUsers {
				t.Errorf("limits: %+v", p)
			}
			r.submit(document, r.numbered(25_000))
			s, sim := r.finished("j1"), r.sim.Stats()
			if s.Throttled+s.Resent+s.Failed > 0 || s.Sent != 25_000 {
				t.Fatalf("a send with faults: %+v", s)
			}
			if int64(p.Calls) != s.Calls || int64(p.Targets) != s.Total || p.Segments != 3 {
				t.Errorf("planned %d calls, %d targets, %d segments; sent in %d calls to %d", p.Calls, p.Targets, p.Segments, s.Calls, s.Total)
			}
			stop() // the last calls are counted a moment after they have ended the job
			if bytes := sumOf(t, registry, "crier_batch_bytes"); float64(p.Bytes) != bytes || p.LargestBody != sim.LargestBody {
				t.Errorf("planned %d bytes, at most %d; sent %v, at most %d", p.Bytes, p.LargestBody, bytes, sim.LargestBody)
			}
		})
	}
}

// sumOf is the sum of all that a histogram without labels has seen.
func sumOf(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram().GetSampleSum()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func TestPlanOfTime(t *testing.T) {
	r := newRig(t, nil)
	margin := gate.DefaultConfig().Margin.Seconds()
	text := func(s string) *string { return &s }
	seconds := func(s float64) *float64 { return &s }
	for name, tt := range map[string]struct {
		quota   string // "-": no worker has published any limits
		options string
		names   int
		want    Plan // Calls, and what it says of time
	}{
		"no worker":         {"-", "", 1000, Plan{Calls: 10}},
		"a worker of old":   {"", "", 1000, Plan{Calls: 10}},
		"auto":              {"auto", "", 1000, Plan{Calls: 10, Quota: text("auto")}},
		"of another type":   {"chatrooms=1/s", "", 1000, Plan{Calls: 10, Quota: text("chatrooms=1/s")}},
		"auto and max_rate": {"auto", `"max_rate":50`, 1000, Plan{Calls: 20, Quota: text("auto"), MinSeconds: 19 * (1 + margin), BoundBy: text("max_rate")}},
		"at once": {
			"users=10/s,1000t/m", "", 100,
			Plan{Calls: 1, Quota: text("users=10/s,1000t/m"), Seconds: seconds(0)},
		},
		"bound by calls": {
			"users=4/s,100000t/m", "", 1000,
			Plan{Calls: 10, Quota: text("users=4/s,100000t/m"), Seconds: seconds(9 * (1 + margin) / 4), MinSeconds: 9 * (1 + margin) / 4, BoundBy: text("4/s")},
		},
		"bound by targets": {
			"users=4/s,300t/m", "", 1000,
			Plan{Calls: 10, Quota: text("users=4/s,300t/m"), Seconds: seconds(181.879), MinSeconds: 181.879, BoundBy: text("300t/m")},
		},
		"bound by max_rate": {
			"users=4/s,300t/m", `"max_rate":1`, 3,
			Plan{Calls: 3, Quota: text("users=4/s,300t/m"), Seconds: seconds(2 * (1 + margin)), MinSeconds: 2 * (1 + margin), BoundBy: text("max_rate")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := r.redis.Client().FlushDB(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if tt.quota != "-" {
				r.publish(5120, 100, tt.quota)
			} else {
				tt.want.Calls = 4 // by default, bytes bind
			}
			p := r.plan(`{"options":{`+tt.options+`},`+hello+`}`, r.numbered(tt.names))
			got := Plan{Calls: p.Calls, Quota: p.Quota, Seconds: p.Seconds, MinSeconds: p.MinSeconds, BoundBy: p.BoundBy}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if from := p.LimitsFrom == LimitsByDefault; from != (tt.quota == "-") {
				t.Errorf("limits from %s", p.LimitsFrom)
			}
		})
	}
}

// A plan stores nothing, and refuses what a send would refuse.
func TestPlanIsASendThatStoresNothing(t *testing.T) {
	r := newRig(t, nil)
	for _, document := range []string{
		`{"target":["u1","u2","U1"],` + hello + `}`,
		`{"target":["u1","u 2"],` + hello + `}`,
		`{"target":[],` + hello + `}`,
		`{` + hello + `}`,
		`{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"` + strings.Repeat("x", 4100) + `"}}`,
	} {
		p, planned := r.tryPlan(document, nil)
		if n, err := r.redis.Client().DBSize(t.Context()).Result(); err != nil || n != 0 {
			t.Errorf("%d keys are stored (%v)", n, err)
		}
		done, sent := r.trySubmit(document, nil)
		if fmt.Sprint(planned) != fmt.Sprint(sent) {
			t.Errorf("planned: %v\nsent: %v", planned, sent)
		}
		if sent == nil && (p.Targets != done.Total || p.Duplicates != done.Duplicates || p.Calls != 1) {
			t.Errorf("planned: %+v\nsent: %+v", p, done)
		}
		r.redis.Client().FlushDB(t.Context())
	}
	r.publish(5120, 600, "users=often")
	if _, err := r.tryPlan(`{"target":["u1"],`+hello+`}`, nil); err == nil || !strings.Contains(err.Error(), "often") || errors.As(err, new(*InvalidError)) {
		t.Errorf("a quota that nobody understands: %v", err)
	}
}
