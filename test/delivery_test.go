package test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// names makes so many distinct user names of different lengths.
func names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("user-%d%s", i, strings.Repeat("x", i%9))
	}
	return list
}

// fewest is the least number of calls for names in their order: each call takes
// names as long as they fit its body. empty is the body without a target.
func fewest(empty string, names []string, maxTargets, maxBody int) int {
	calls, count, size := 0, 0, 0
	for _, name := range names {
		cost := len(`"",`) + len(name)
		if calls == 0 || count == maxTargets || size+cost > maxBody {
			calls, count, size = calls+1, 0, len(empty)-len(`,`) // no comma before the first
		}
		count, size = count+1, size+cost
	}
	return calls
}

// checkFrugal holds the calls made against the limits and the fewest possible.
func checkFrugal(t *testing.T, w *world, empty string, list []string) {
	t.Helper()
	stats, least := w.sim.Stats(), fewest(empty, list, 600, 5120)
	if float64(stats.Calls) > 1.01*float64(least) {
		t.Errorf("%d calls, though %d are enough", stats.Calls, least)
	}
	if stats.LargestBody > 5120 || stats.MostTargets > 600 {
		t.Errorf("a body of %d bytes, a call with %d targets", stats.LargestBody, stats.MostTargets)
	}
	if len(stats.Refused) > 0 {
		t.Errorf("refused: %v", stats.Refused)
	}
}

func TestEachNameOfACSVOnce(t *testing.T) {
	t.Parallel()
	const distinct, repeated = 10_000, 500
	list := names(distinct)
	var text strings.Builder
	text.WriteString("customer,username,city\n")
	for i, name := range list {
		fmt.Fprintf(&text, "%d,%s,\"Köln, \"\"Süd\"\"\"\n", i, name)
		if i%(distinct/repeated) == 0 { // an earlier name again, in other letters
			fmt.Fprintf(&text, "%d,%s,\n", i, strings.ToUpper(list[i/2]))
		}
	}
	file := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t)
	w.worker()
	id := w.send("--targets", file, "--target-type", "users", "--type", "txt", "--text", "hello", "--from", "admin", "--wait")
	if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
	checkFrugal(t, w, `{"target_type":"users","target":[],"msg":{"type":"txt","msg":"hello"},"from":"admin"}`, list)
	if s := w.status(id); s.State != "finished" || s.Total != distinct || s.Sent != distinct || int64(s.Calls) != w.sim.Stats().Calls {
		t.Errorf("%+v", s)
	}

	rows := w.rows(id)
	if diff := cmp.Diff(slices.Sorted(slices.Values(list)), slices.Sorted(maps.Keys(rows))); diff != "" {
		t.Errorf("results as NDJSON (-want +got):\n%.2000s", diff)
	}
	for name, r := range rows {
		if r.Outcome != "sent" || r.Attempts != 1 || r.Reason != "" || r.At == "" || w.sim.Delivered(chatsim.Users, name) != 1 {
			t.Fatalf("%+v, delivered %d times", r, w.sim.Delivered(chatsim.Users, name))
		}
	}
	if diff := cmp.Diff(rows, csvRows(t, w.succeed("results", id))); diff != "" {
		t.Errorf("CSV and NDJSON are not the same:\n%.2000s", diff)
	}
	if got := w.rows(id, "--outcome", "failed,unknown,pending,cancelled"); len(got) != 0 {
		t.Errorf("%d targets are listed as not sent", len(got))
	}
}

// csvRows reads results in CSV, by the name of the target.
func csvRows(t *testing.T, text string) map[string]row {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(records[0], ","); got != "target,outcome,reason,detail,attempts,message_id,at" {
		t.Errorf("the header is %s", got)
	}
	rows := map[string]row{}
	for _, r := range records[1:] {
		attempts, err := strconv.Atoi(r[4])
		if err != nil {
			t.Fatal(err)
		}
		rows[r[0]] = row{r[0], r[1], r[2], r[3], attempts, r[5], r[6]}
	}
	return rows
}

// A list of several segments costs no more calls than one that is cut as a whole.
func TestLongListFromStandardInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	list := names(40_000)
	id := w.sendWith(strings.Join(list, "\n"), "--targets", "-", "--text", "hello", "--wait")
	if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
	checkFrugal(t, w, `{"target_type":"users","target":[],"msg":{"type":"txt","msg":"hello"}}`, list)
	if s := w.status(id); s.Sent != len(list) {
		t.Errorf("%+v", s)
	}
}

func TestFormsOfLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	for name, tt := range map[string]struct {
		file, text string
		args       []string
		want       []string
	}{
		"header, BOM, CRLF":    {"a.csv", "\ufeffname,target\r\nAnna,a1\r\n\r\nBen,A2\r\n", nil, []string{"a1", "a2"}},
		"header is id":         {"b.csv", "id,x\nb1,1\nb2,2\nb1,3\n", nil, []string{"b1", "b2"}},
		"header is user":       {"c.csv", "id,user\n1,c1\n2,c2\n", nil, []string{"c1", "c2"}},
		"no header":            {"d.csv", "d1,Anna\nd2,Ben\n", nil, []string{"d1", "d2"}},
		"no header, BOM, CRLF": {"e.csv", "\ufeffe1\r\ne2\r\n", nil, []string{"e1", "e2"}},
		"column by name":       {"f.csv", "target,alias\nno1,f1\nno2,\"f2\"\n", []string{"--column", "alias"}, []string{"f1", "f2"}},
		"text":                 {"g.txt", "g1\ng2", nil, []string{"g1", "g2"}},
		"text, BOM, CRLF":      {"h.txt", "\ufeffh1\r\n\r\n  h2 \r\nH1\r\n\r\n", nil, []string{"h1", "h2"}},
		"extension in capital": {"I.TXT", "i1\n", nil, []string{"i1"}},
		"standard input":       {"", "j1\r\nj2\r\n", nil, []string{"j1", "j2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			path := "-"
			if tt.file != "" {
				path = filepath.Join(t.TempDir(), tt.file)
				if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			id := w.sendWith(tt.text, append([]string{"--targets", path, "--text", "hello", "--wait"}, tt.args...)...)
			if s := w.status(id); s.Total != len(tt.want) {
				t.Errorf("%d targets, want %d", s.Total, len(tt.want))
			}
			for _, name := range tt.want {
				if got := w.sim.Delivered(chatsim.Users, name); got != 1 {
					t.Errorf("%s was delivered to %d times", name, got)
				}
			}
		})
	}
}

// Group ids may look like numbers beyond what a float can hold.
func TestIDsStayStrings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	ids := []string{"9007199254740993", "00123", "66021836783617", "room1"}
	id := w.sendWith(strings.Join(ids, "\n"), "--targets", "-", "--target-type", "chatrooms", "--text", "hello", "--wait")
	if diff := cmp.Diff(once(ids...), w.journal(chatsim.Rooms)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	list := decode[[]json.RawMessage](t, w.succeed("list", "--json"))
	if got := decode[status](t, string(list[0])); len(list) != 1 || got.ID != id {
		t.Errorf("list: %+v", got)
	}
}

// A document may leave its targets to a list, and jobs may come before any
// worker: they are cut anew by the limits of the one that delivers them.
func TestJobBeforeItsWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.MaxGroups = 3 }).with("CHAT_API=split")
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = fmt.Sprint(66021836783617 + i)
	}
	doc := object{"id": "groups", "target_type": "chatgroups", "msg": object{"type": "txt", "msg": "hello"}}
	w.send("--job", jobFile(t, doc), "--targets", listFile(t, ids...))
	w.worker()
	if s := w.wait("groups", 0); s.Calls != 7 {
		t.Errorf("%d calls with at most 3 of 20 targets", s.Calls)
	}
	if diff := cmp.Diff(once(ids...), w.journal(chatsim.Groups)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	if refused := w.sim.Stats().Refused; len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
