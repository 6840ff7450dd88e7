package redisconn

import (
	"testing"
	"time"
)

func TestMergeTakesTheWorst(t *testing.T) {
	a := Facts{Version: "7.2.4", MaxMemory: 100, MemoryShare: .5, MaxMemoryPolicy: "noeviction", AppendOnly: "yes", Uptime: time.Hour}
	b := Facts{Version: "7.0.9", MaxMemory: 50, MemoryShare: .9, MaxMemoryPolicy: "allkeys-lru", MayEvict: true, AppendOnly: "no", Uptime: time.Minute}
	for name, facts := range map[string][2]Facts{"good first": {a, b}, "bad first": {b, a}} {
		got := facts[0]
		got.merge(facts[1])
		if got != b {
			t.Errorf("%s: %+v, want %+v", name, got, b)
		}
	}
	unlimited := Facts{}
	unlimited.merge(a)
	if unlimited.MaxMemory != 100 {
		t.Errorf("limit %d, want that of the one limited", unlimited.MaxMemory)
	}
}
