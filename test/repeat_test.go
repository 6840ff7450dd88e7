package test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// original is the job that the tests of repeated ids send first.
const original = `{"id":"spring-sale","target_type":"users","target":["u1","u2","u3"],"msg":{"type":"txt","msg":"grüße"},"from":"admin",
	"ext":{"a":{"x":1,"y":[1,2]},"b":"é"},"options":{"name":"Spring sale","weight":2,"expires_at":"2999-01-01T00:00:00Z"}}`

// The same content under the same id is the same job, however it is written.
func TestSameContentIsTheSameJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.sendWith(original, "--job", "-", "--wait")
	for name, text := range map[string]string{
		"the same": original,
		"order and white space": `{ "options" : {"expires_at":"2999-01-01T00:00:00Z","weight":2,"name":"Spring sale"}, "ext" : {"b":"é","a":{"y":[1,2],"x":1}},
			"from":"admin", "msg":{"msg":"grüße","type":"txt"}, "target":["u1","u2","u3"],"target_type":"users","id":"spring-sale"}`,
		"escapes":                strings.NewReplacer("ü", `\u00fc`, "é", `\u00e9`, "u2", `\u0075\u0032`).Replace(original),
		"defaults":               strings.Replace(original, `"weight":2`, `"weight":2,"priority":"bulk","max_rate":0,"on_unknown":"resend"`, 1),
		"time in another zone":   strings.Replace(original, "2999-01-01T00:00:00Z", "2999-01-01T01:00:00+01:00", 1),
		"names in capitals":      strings.Replace(original, `"u1","u2","u3"`, `"U1","u2","U3"`, 1),
		"names twice":            strings.Replace(original, `"u1","u2","u3"`, `"u1","u2","u1","U2","u3"`, 1),
		"sender in other escape": strings.Replace(original, "admin", `\u0061dmin`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.enqueueWith(text, "send", "--job", "-")
			if got.code != 0 || got.out != "spring-sale\n" {
				t.Errorf("exit %d, %q", got.code, got.out)
			}
		})
	}
	t.Run("flags", func(t *testing.T) {
		w := w.in(t)
		id := w.send("--id", "spring-sale", "--targets", listFile(t, "u1", "U2", "", "u3", "u3"), "--text", "grüße", "--from", "admin",
			"--ext", `{"b":"é","a":{"x":1,"y":[1,2]}}`, "--name", "Spring sale", "--weight", "2", "--expires-at", "2999-01-01T00:00:00Z")
		if id != "spring-sale" {
			t.Errorf("the id is %q", id)
		}
	})
	if diff := cmp.Diff(once("u1", "u2", "u3"), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if list := decode[[]status](t, w.succeed("list", "--json")); len(list) != 1 {
		t.Errorf("%d jobs are listed", len(list))
	}
}

// Other content under a known id is a conflict, and changes nothing.
func TestOtherContentIsAConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.sendWith(original, "--job", "-", "--wait")
	before, keys := w.succeed("status", "spring-sale", "--json"), w.keysOf("spring-sale")
	for name, text := range map[string]string{
		"text":        strings.Replace(original, "grüße", "hello", 1),
		"type":        strings.Replace(original, `{"type":"txt","msg":"grüße"}`, `{"type":"cmd","action":"a"}`, 1),
		"one more":    strings.Replace(original, `"u3"`, `"u3","u4"`, 1),
		"one less":    strings.Replace(original, `,"u3"`, ``, 1),
		"another":     strings.Replace(original, `"u3"`, `"u4"`, 1),
		"target_type": strings.Replace(original, `"users"`, `"chatgroups"`, 1),
		"from":        strings.Replace(original, `"admin"`, `"user1"`, 1),
		"ext":         strings.Replace(original, `"x":1`, `"x":2`, 1),
		"ext order":   strings.Replace(original, `[1,2]`, `[2,1]`, 1),
		"name":        strings.Replace(original, "Spring sale", "Autumn sale", 1),
		"weight":      strings.Replace(original, `"weight":2`, `"weight":3`, 1),
		"priority":    strings.Replace(original, `"weight":2`, `"weight":2,"priority":"urgent"`, 1),
		"more fields": strings.Replace(original, `"from"`, `"sync_device":true,"from"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			got := w.in(t).enqueueWith(text, "send", "--job", "-", "--wait")
			if got.code != 2 || got.out != "" {
				t.Errorf("exit %d, %q", got.code, got.out)
			}
			if !strings.Contains(got.err, "spring-sale") || !strings.Contains(got.err, "other content") {
				t.Errorf("the conflict is told as %q", got.err)
			}
		})
	}
	if after := w.succeed("status", "spring-sale", "--json"); after != before {
		t.Errorf("the job has changed:\n%s\n%s", before, after)
	}
	if diff := cmp.Diff(keys, w.keysOf("spring-sale")); diff != "" || len(keys) == 0 {
		t.Errorf("keys of the job (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(once("u1", "u2", "u3"), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// Without an id, each job is a new one.
func TestMadeIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	ids := map[string]bool{}
	for range 3 {
		ids[w.send("--target", "u1", "--text", "hello", "--wait")] = true
	}
	if len(ids) != 3 || w.sim.Delivered("users", "u1") != 3 {
		t.Errorf("%d ids, delivered %d times", len(ids), w.sim.Delivered("users", "u1"))
	}
	listed := map[string]bool{}
	for _, s := range decode[[]status](t, w.succeed("list", "--json")) {
		listed[s.ID] = true
	}
	if !maps.Equal(ids, listed) {
		t.Errorf("listed %v, want %v", listed, ids)
	}
}

// However many send the same job at the same time, it is one job.
func TestSameIDAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	list := names(3000)
	file, other := listFile(t, list...), listFile(t, names(2999)...)
	const senders = 6
	var same, different []*process
	for range senders {
		c := command{program: "enqueue", env: w.vars}
		same = append(same, c.start(t, "send", "--id", "same", "--targets", file, "--text", "hello"))
		different = append(different, c.start(t, "send", "--id", "same", "--targets", other, "--text", "hello"))
	}
	codes := map[int]int{}
	for i, p := range append(same, different...) {
		got := p.result(t)
		codes[got.code]++
		if (got.code != 0 || got.out != "same\n") && (got.code != 2 || got.out != "") {
			t.Errorf("sender %d: exit %d, %q\n%s", i, got.code, got.out, got.err)
		}
	}
	if codes[0] != senders || codes[2] != senders {
		t.Errorf("exit codes %v: each content should have won with all of its senders, or lost", codes)
	}
	s := w.wait("same", 0)
	want := once(list[:s.Total]...)
	if diff := cmp.Diff(want, w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
}
