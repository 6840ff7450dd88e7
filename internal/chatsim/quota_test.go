package chatsim

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseQuotas(t *testing.T) {
	got, err := ParseQuotas(" users=100/s, 6000t/m@sliding ; chatgroups=20/5s@bucket;chatrooms=1t/h; ")
	if err != nil {
		t.Fatal(err)
	}
	want := Quotas{
		Users:  {{Calls: 100, Window: time.Second, Mode: ModeFixed}, {Targets: 6000, Window: time.Minute, Mode: ModeSliding}},
		Groups: {{Calls: 20, Window: 5 * time.Second, Mode: ModeBucket}},
		Rooms:  {{Targets: 1, Window: time.Hour, Mode: ModeFixed}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if none, err := ParseQuotas(""); err != nil || len(none) != 0 {
		t.Errorf("empty text gave %v, %v", none, err)
	}
}

func TestParseQuotasNamesEveryFault(t *testing.T) {
	_, err := ParseQuotas("people=1/s;users;users=x/s,0/s,5/parsec,-1t/s,1/s@leaky,1/0s,5;chatrooms=1/s")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{`"people=1/s"`, `"users"`, `"x/s"`, `"0/s"`, `"5/parsec"`, `"-1t/s"`, `"leaky"`, "above 0, but is 0s", `"5"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is missing in:\n%v", part, err)
		}
	}
}

// step is a call of n users at a time after the start of the test, which
// synctest puts on a whole minute.
type step struct {
	at   time.Duration
	n    int
	want string // part of the answer; empty: 200
}

func runSteps(t *testing.T, change func(*Config), steps []step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, change)
		start := time.Now()
		for i, st := range steps {
			<-time.After(time.Until(start.Add(st.at)))
			got := s.call(t, unifiedPath, message(Users, shortNames(st.n)...))
			if got.Status == http.StatusOK != (st.want == "") || !strings.Contains(got.Text, st.want) {
				t.Errorf("call %d after %v: got %d %s", i, st.at, got.Status, got.Text)
			}
		}
	})
}

func TestQuotas(t *testing.T) {
	quotas := func(text string) func(*Config) {
		return func(c *Config) { c.Quotas, _ = ParseQuotas(text) }
	}
	const ms = time.Millisecond
	calls, targets := `"error":"reach_limit"`, `"error_description":"message send reach limit"`
	for _, tt := range []struct {
		name   string
		change func(*Config)
		steps  []step
	}{
		{"fixed: twice the limit around an edge", quotas("users=2/s"), []step{
			{900 * ms, 1, ""}, {990 * ms, 1, ""}, {999 * ms, 1, calls}, {1000 * ms, 1, ""}, {1001 * ms, 1, ""}, {1002 * ms, 1, calls}, {2000 * ms, 1, ""},
		}},
		{"sliding: the limit in any second", quotas("users=2/s@sliding"), []step{
			{900 * ms, 1, ""}, {990 * ms, 1, ""}, {1000 * ms, 1, calls}, {1899 * ms, 1, calls}, {1900 * ms, 1, ""}, {1989 * ms, 1, calls}, {1990 * ms, 1, ""},
		}},
		{"bucket: full at first, then evenly", quotas("users=2/s@bucket"), []step{
			{0, 1, ""}, {0, 1, ""}, {0, 1, calls}, {499 * ms, 1, calls}, {500 * ms, 1, ""}, {999 * ms, 1, calls}, {1000 * ms, 1, ""}, {9 * time.Second, 1, ""}, {9 * time.Second, 1, ""}, {9 * time.Second, 1, calls},
		}},
		{"targets: each counts", quotas("users=10t/m"), []step{
			{0, 6, ""}, {1 * ms, 5, targets}, {2 * ms, 4, ""}, {3 * ms, 1, targets}, {60000 * ms, 10, ""},
		}},
		{"sliding targets leave as they came", quotas("users=10t/s@sliding"), []step{
			{0, 6, ""}, {500 * ms, 4, ""}, {999 * ms, 1, targets}, {1000 * ms, 7, targets}, {1000 * ms, 6, ""}, {1500 * ms, 5, targets}, {1500 * ms, 4, ""},
		}},
		{"bucket of targets", quotas("users=10t/s@bucket"), []step{
			{0, 10, ""}, {300 * ms, 4, targets}, {300 * ms, 3, ""}, {400 * ms, 1, ""},
		}},
		{"more than the limit never fits", quotas("users=5t/s"), []step{{0, 6, targets}, {5000 * ms, 6, targets}}},
		{"both limits hold, and a refused call uses nothing up", quotas("users=3/s,10t/s"), []step{
			{0, 8, ""}, {1 * ms, 8, targets}, {2 * ms, 1, ""}, {3 * ms, 1, ""}, {4 * ms, 8, calls},
		}},
		{"other target types have their own", quotas("chatgroups=1t/h"), []step{{0, 600, ""}, {1 * ms, 600, ""}}},
		{"old wording", func(c *Config) { quotas("users=1t/s")(c); c.OldWording = true }, []step{
			{0, 1, ""}, {1 * ms, 1, `"error_description":"Forbidden for url"`},
		}},
		{"the plan ends for good", func(c *Config) { quotas("users=1/s")(c); c.PlanCalls = 2 }, []step{
			{0, 1, ""}, {1 * ms, 1, calls}, {1000 * ms, 1, ""}, {3 * time.Hour, 1, `"error":"resource_limited"`},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { runSteps(t, tt.change, tt.steps) })
	}
}

func TestQuotaStatuses(t *testing.T) {
	s := newSim(t, func(c *Config) {
		c.Quotas, c.PlanCalls = Quotas{Users: {{Calls: 1, Window: time.Hour}}, Groups: {{Targets: 1, Window: time.Hour}}}, 3
	})
	s.call(t, unifiedPath, message(Users, "u1"))
	if got := s.call(t, unifiedPath, message(Users, "u1")); got.Status != http.StatusTooManyRequests {
		t.Errorf("call quota: %d %s", got.Status, got.Text)
	}
	if got := s.call(t, unifiedPath, message(Groups, "1", "2")); got.Status != http.StatusForbidden || got.Error != "message_send_error" {
		t.Errorf("target quota: %d %s", got.Status, got.Text)
	}
	if err := s.SetQuotas(nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := s.call(t, unifiedPath, message(Users, "u1")); got.Status != http.StatusOK {
			t.Errorf("without quotas: %d %s", got.Status, got.Text)
		}
	}
	if got := s.call(t, unifiedPath, message(Users, "u1")); got.Status != http.StatusTooManyRequests || got.Error != "resource_limited" {
		t.Errorf("plan: %d %s", got.Status, got.Text)
	}
	if err := s.SetQuotas(Quotas{"people": nil}); err == nil {
		t.Error("an unknown target type was taken")
	}
}
