package main

import (
	"bufio"
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json"

	"crier/internal/chatsim"
)

// simulator starts a simulated API in this process.
func simulator(t *testing.T, change func(*chatsim.Config)) (*chatsim.Server, string) {
	t.Helper()
	config := simulated
	if change != nil {
		change(&config)
	}
	sim, err := chatsim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	url, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	return sim, url
}

func TestBareLoopDeliversAll(t *testing.T) {
	const count = 20_000
	sim, url := simulator(t, nil)
	list := filepath.Join(t.TempDir(), "names.txt")
	if err := writeNames(list, kindMixed, count); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"bare", "--targets", list, "--chat-url", url}, stdio{&out, &errs}); code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	var result bareResult
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	delivered := 0
	for key, times := range sim.Journal() {
		if times != 1 {
			t.Errorf("%s was delivered to %d times", key.Target, times)
		}
		delivered++
	}
	stats := sim.Stats()
	if delivered != count || result.Success != count || int64(result.Calls) != stats.AcceptedCalls {
		t.Errorf("%d delivered, it counts %+v; the API %d calls", delivered, result, stats.AcceptedCalls)
	}
	if stats.LargestBody > limits.MaxBody {
		t.Errorf("a body has %d bytes", stats.LargestBody)
	}
}

// The yardstick makes as few calls as there can be, whatever the lengths of
// names and however the list arrives.
func TestBareLoopCutsLikeTheChunker(t *testing.T) {
	var list strings.Builder
	for n := range 30_000 {
		fmt.Fprintf(&list, "%0*d\n", 5+n*7%60, n)
	}
	for range 3_000 {
		list.WriteString("ab\n") // here 600 targets are the limit
	}
	fewest, err := fewestCalls(iotest.HalfReader(strings.NewReader(list.String())))
	if err != nil {
		t.Fatal(err)
	}
	head, tail, err := envelope()
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutter{names: bufio.NewScanner(iotest.HalfReader(strings.NewReader(list.String()))), head: head, tail: tail}
	var joined strings.Builder
	calls := int64(0)
	for ; ; calls++ {
		body, err := cut.next()
		if err != nil {
			t.Fatal(err)
		}
		if len(body) == 0 {
			break
		}
		var message struct {
			Target []string `json:"target"`
		}
		if err := json.Unmarshal(body, &message); err != nil || len(body) > limits.MaxBody || len(message.Target) > 600 {
			t.Fatalf("a body of %d bytes for %d targets: %v", len(body), len(message.Target), err)
		}
		for _, name := range message.Target {
			joined.WriteString(name + "\n")
		}
	}
	if calls != fewest {
		t.Errorf("%d calls, the chunker makes %d", calls, fewest)
	}
	if joined.String() != list.String() {
		t.Error("the bodies do not hold the list in its order")
	}
}

func TestBareLoopEndsAtAFault(t *testing.T) {
	_, open := simulator(t, nil)
	_, closed := simulator(t, func(c *chatsim.Config) { c.Token = "another" })
	for name, c := range map[string]struct{ list, url, want string }{
		"refused":        {"u1\n", closed, "answer 401"},
		"nobody there":   {"u1\n", "http://127.0.0.1:1", "refused"},
		"too long":       {strings.Repeat("a", limits.MaxBody) + "\n", open, "fits no body"},
		"unreadable":     {"", open, "broken disk"},
		"an empty list ": {"", open, ""},
	} {
		t.Run(name, func(t *testing.T) {
			names := bytes.NewBufferString(c.list)
			var result bareResult
			var err error
			if c.want == "broken disk" {
				result, err = bareDeliver(iotest.ErrReader(fmt.Errorf("broken disk")), c.url, 2)
			} else {
				result, err = bareDeliver(names, c.url, 2)
			}
			switch {
			case c.want == "" && (err != nil || result != bareResult{}):
				t.Errorf("%+v, %v", result, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
