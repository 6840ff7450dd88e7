package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/pacing"
	"crier/internal/settings"
)

func TestRun(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	for name, tt := range map[string]struct {
		args []string
		code int
		out  string // a part of it
		err  string
	}{
		"list":                {args: []string{"--list"}, out: "auto-20-sliding"},
		"no such scenario":    {args: []string{"--scenario", "nil"}, code: settings.ExitUsage, err: `there is no "nil"`},
		"no such flag":        {args: []string{"--speed", "2"}, code: settings.ExitUsage, err: "--speed"},
		"no such Redis":       {args: []string{"--redis-url", "http://x"}, code: settings.ExitFail, err: "redis"},
		"a folder is no file": {args: []string{"--scenario", "known-targets-fixed", "--out", os.DevNull}, code: settings.ExitFail, err: os.DevNull},
	} {
		t.Run(name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := run(tt.args, &out, &stderr)
			if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(stderr.String(), tt.err) {
				t.Errorf("exit %d, want %d; output:\n%s%s", code, tt.code, out.String(), stderr.String())
			}
		})
	}
}

// TestPlay: one scenario, from the flags to the picture. Whether the gate keeps
// to its bands is no matter here, but the exit code has to agree with the table.
func TestPlay(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	dir := filepath.Join(t.TempDir(), "new")
	var out, stderr bytes.Buffer
	code := run([]string{"--scenario", "known-targets-fixed", "--out", dir}, &out, &stderr)
	want := settings.ExitOK
	if strings.Contains(out.String(), " NO\n") {
		want = settings.ExitFail
	}
	if code != want || !strings.Contains(out.String(), "known-targets-fixed") || !strings.Contains(out.String(), ">= 97.0 %     5-45") {
		t.Errorf("exit %d, want %d; output:\n%s%s", code, want, out.String(), stderr.String())
	}
	if text, err := os.ReadFile(filepath.Join(dir, "known-targets-fixed.svg")); err != nil || !bytes.Contains(text, []byte("</svg>")) {
		t.Errorf("a picture of %d bytes (%v)", len(text), err)
	}
}

func TestPicturedAreScenarios(t *testing.T) {
	o := options{Scenario: pictured()}
	if list, err := o.chosen(); err != nil || len(list) != len(pictured()) {
		t.Errorf("%d scenarios, %v", len(list), err)
	}
}

// result is one that has something of everything.
func result() *pacing.Result {
	return &pacing.Result{
		Scenario: pacing.Scenario{
			Name: "some", About: "4 calls/s & more", Length: 4 * time.Second,
			Link: pacing.Link{
				Limits:  []pacing.Limit{{N: 4, Unit: pacing.Calls, Window: time.Second, Kind: pacing.Fixed}},
				Outages: []pacing.Span{{From: 3 * time.Second, To: 4 * time.Second}},
			},
		},
		Calls: []pacing.Call{
			{At: 0, Targets: 1, Verdict: pacing.Accepted},
			{At: 1100 * time.Millisecond, Targets: 1, Verdict: pacing.Accepted},
			{At: 1200 * time.Millisecond, Targets: 1, Verdict: pacing.RefusedCalls},
			{At: 3500 * time.Millisecond, Targets: 1, Verdict: pacing.Unreached},
		},
	}
}

func TestDrawing(t *testing.T) {
	var pictures [][]byte
	for _, name := range []string{"a.svg", "b.svg"} {
		path := filepath.Join(t.TempDir(), name)
		if err := drawFile(result(), path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, text)
	}
	if !bytes.Equal(pictures[0], pictures[1]) {
		t.Error("the same run was drawn in two ways")
	}
	texts := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(pictures[0])); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts[string(text)] = true
		}
	}
	for _, want := range []string{"4 calls/s & more", "seconds", "calls a second", "offered", "accepted", "refused", "no connection", "allowed", "0", "4"} {
		if !texts[want] {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if bytes.Contains(pictures[0], []byte("Liberation Sans;")) || !bytes.Contains(pictures[0], []byte("sans-serif;")) {
		t.Error("texts have one font only, which may not be there")
	}
}

func TestScale(t *testing.T) {
	calls := pacing.Limit{Unit: pacing.Calls, Window: time.Second}
	minute := pacing.Limit{Unit: pacing.Targets, Window: time.Minute}
	for _, tt := range []struct {
		limits  []pacing.Limit
		unit    pacing.Unit
		stretch time.Duration
	}{
		{nil, pacing.Calls, time.Second},
		{[]pacing.Limit{calls}, pacing.Calls, time.Second},
		{[]pacing.Limit{calls, minute}, pacing.Targets, 12 * time.Second},
	} {
		unit, stretch := scale(pacing.Scenario{Link: pacing.Link{Limits: tt.limits}})
		if unit != tt.unit || stretch != tt.stretch {
			t.Errorf("%v: %s in %v, want %s in %v", tt.limits, unit, stretch, tt.unit, tt.stretch)
		}
	}
}

func TestTicks(t *testing.T) {
	for most, want := range map[float64]string{
		5: "0 1 2 3 4 5", 10: "0 1 2 3 4 5 6 7 8 9 10", 10.5: "0 2 4 6 8 10", 48: "0 5 10 15 20 25 30 35 40 45",
		110: "0 20 40 60 80 100", 3900: "0 500 1000 1500 2000 2500 3000 3500",
	} {
		var labels []string
		for _, tick := range ticks(most) {
			labels = append(labels, tick.Label)
		}
		if diff := cmp.Diff(want, strings.Join(labels, " ")); diff != "" {
			t.Errorf("up to %v:\n%s", most, diff)
		}
	}
}
