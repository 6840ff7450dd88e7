package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"crier/internal/ledger"
)

// No call that could change anything can be made without a key, whatever stands in
// the path for an organization.
func TestNothingIsSentWithoutAKey(t *testing.T) {
	keys, err := ParseKeys("k1")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(_ *Config, p *Parts) { p.Keys = keys })
	paths := []string{"/docs", "/docs/", "/openapi.json", "/healthz", "/readyz"}
	for path := range r.gateway.api.OpenAPI().Paths {
		for _, org := range []string{"docs", "healthz", "openapi.json", "v1"} {
			paths = append(paths, strings.NewReplacer("{org}", org, "{app}", "docs", "{id}", "docs").Replace(path))
		}
	}
	before := r.stored()
	for _, path := range slices.Compact(slices.Sorted(slices.Values(paths))) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			refused(t, r.call(method, path, strings.NewReader(document("u1"))), 401)
		}
	}
	if now := r.stored(); now != before {
		t.Errorf("%d keys in Redis, there were %d", now, before)
	}
}

// deaf loses what Redis answers to reads of a job, while it is told to.
type deaf struct{ on atomic.Bool }

var errDeaf = errors.New("i/o timeout")

func (d *deaf) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *deaf) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if d.on.Load() && cmd.Name() == "hgetall" {
			cmd.SetErr(errDeaf)
			return errDeaf
		}
		return next(ctx, cmd)
	}
}

func (d *deaf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A job that was taken is told as taken, also if nothing more can be read of it.
func TestTakenIsTaken(t *testing.T) {
	r := newRig(t, nil)
	d := &deaf{}
	r.client.AddHook(d)
	d.on.Store(true)
	for id, want := range map[string]ledger.State{"whole": ledger.StateRunning, "later": ledger.StateScheduled, "draft": ledger.StateLoading} {
		body := map[string]string{
			"whole": `{"id":"whole","target_type":"users","target":["u1","u2"],"msg":{"type":"txt","msg":"x"}}`,
			"later": `{"id":"later","target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"x"},"options":{"send_at":"2999-01-01T00:00:00Z"}}`,
			"draft": `{"id":"draft","target_type":"users","msg":{"type":"txt","msg":"x"}}`,
		}[id]
		got := r.wants(r.post("/v1/jobs", body), 202)
		s := decode[struct {
			ID    string
			State ledger.State
			Total int
		}](t, got.body)
		if s.ID != id || s.State != want || s.Total != strings.Count(body, `"u`)-1 && want != ledger.StateLoading {
			t.Errorf("%s: %s", id, got.body)
		}
	}
	d.on.Store(false)
	for _, id := range []string{"whole", "later", "draft"} {
		if s := r.job(id); s.ID != id {
			t.Errorf("%+v", s)
		}
	}
}

// A start that is given another total than the job has leaves it loading.
func TestStartWithTotal(t *testing.T) {
	r := newRig(t, nil)
	r.begin("draft")
	r.wants(r.post("/v1/jobs/draft/targets", "u1\nu2\n", "Content-Type", "text/plain"), 200)
	if p := refused(t, r.post("/v1/jobs/draft/start?total=3", ""), 422); len(p.Errors) != 1 || p.Errors[0].Location != "total" {
		t.Errorf("%+v", p)
	}
	if s := r.job("draft"); s.State != ledger.StateLoading {
		t.Errorf("%+v", s)
	}
	r.wants(r.post("/v1/jobs/draft/start?total=2", ""), 202)
	if s := r.job("draft"); s.State != ledger.StateRunning || s.Total != 2 {
		t.Errorf("%+v", s)
	}
}
