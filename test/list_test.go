package test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A list with wrong lines is refused as a whole, and the first 20 are named.
func TestInvalidLinesAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var text strings.Builder
	var want []string
	for line := 1; line <= 200; line++ {
		if line%8 != 0 {
			fmt.Fprintf(&text, "user%d\n", line)
			continue
		}
		fmt.Fprintf(&text, "user %d\n", line) // 25 of them, each with a space
		if len(want) < 20 {
			want = append(want, strconv.Itoa(line))
		}
	}
	for name, header := range map[string]string{"users.txt": "", "users.csv": "target\n"} {
		t.Run(name, func(t *testing.T) {
			w, want := w.in(t), slices.Clone(want)
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(header+text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			if header != "" {
				for i := range want {
					n, _ := strconv.Atoi(want[i]) // a number: made above
					want[i] = strconv.Itoa(n + 1)
				}
			}
			got := w.enqueue("send", "--targets", file, "--text", "hello")
			w.refuses(got, "5 more")
			var named []string
			for _, match := range regexp.MustCompile(`line (\d+)`).FindAllStringSubmatch(got.err, -1) {
				named = append(named, match[1])
			}
			if diff := cmp.Diff(want, named); diff != "" {
				t.Errorf("lines named (-want +got):\n%s\n%s", diff, got.err)
			}
		})
	}
}

func TestWrongLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		file, text string // the file is written unless it is "absent.txt" or "-"
		args       []string
		want       []string
	}{
		"absent":            {"absent.txt", "", nil, []string{"--targets", "absent.txt"}},
		"unknown extension": {"users.xlsx", "u1\n", nil, []string{"--targets", ".xlsx"}},
		"no extension":      {"users", "u1\n", nil, []string{"--targets", "extension"}},
		"missing column":    {"users.csv", "id,name\nu1,Anna\n", []string{"--column", "phone"}, []string{"phone", "id", "name"}},
		"column of text":    {"users.txt", "u1\n", []string{"--column", "phone"}, []string{"phone"}},
		"empty":             {"users.txt", "", nil, []string{"target"}},
		"blank lines":       {"users.txt", "\ufeff\r\n\r\n \n", nil, []string{"target"}},
		"header alone":      {"users.csv", "target\n", nil, []string{"target"}},
		"empty input":       {"-", "", nil, []string{"target"}},
		"UTF-16":            {"users.txt", "\xff\xfeu\x001\x00\n\x00", nil, []string{"UTF-16"}},
		"short row":         {"users.csv", "name,id\nAnna\n", nil, []string{"line 2"}},
		"quote not closed":  {"users.csv", "id\n\"u1\nu2\nu3\n", nil, []string{"line 2"}},
		"name too long":     {"users.txt", "u1\n" + longName + "\n", nil, []string{"line 2", "64"}},
		"not UTF-8":         {"users.txt", "u1\nu\xe9\n", nil, []string{"line 2"}},
		"list and target":   {"users.txt", "u1\n", []string{"--target", "u2"}, []string{"target"}},
		"group in capitals": {"groups.txt", "1\nTeam\n", []string{"--target-type", "chatgroups"}, []string{"line 2"}},
		"wrong kind":        {"users.txt", "u1\n", []string{"--target-type", "people"}, []string{"target_type"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			path := tt.file
			if path != "-" {
				path = filepath.Join(t.TempDir(), tt.file)
			}
			if tt.file != "-" && tt.file != "absent.txt" {
				if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := w.enqueueWith(tt.text, append([]string{"send", "--targets", path, "--text", "hello"}, tt.args...)...)
			w.refuses(got, tt.want...)
		})
	}
}

// Names of the lists to exclude are left out, whatever the job is made of.
func TestExclude(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	optouts := listFile(t, "U2", "u4", "nobody")
	columns := csvFile(t, "name,uid\nu1,u3\n")
	document := jobFile(t, object{"target_type": "users", "target": []any{"u1", "u2", "u3"}, "msg": object{"type": "txt", "msg": "hello"}})
	for name, tt := range map[string]struct {
		stdin string
		args  []string
		want  []string // the targets
		say   string
	}{
		"list":          {"", []string{"--text", "hello", "--targets", listFile(t, "u1", "u2", "u2", "u3", "u1"), "--exclude", optouts}, []string{"u1", "u3"}, "2 targets accepted, 1 repeated ones dropped, 2 excluded"},
		"single names":  {"", []string{"--text", "hello", "--target", "u4", "--target", "u5", "--exclude", optouts}, []string{"u5"}, "1 excluded"},
		"document":      {"", []string{"--job", document, "--exclude", optouts}, []string{"u1", "u3"}, "1 excluded"},
		"several":       {"", []string{"--job", document, "--exclude", optouts, "--exclude", listFile(t, "u1")}, []string{"u3"}, "2 excluded"},
		"standard in":   {"u1\n", []string{"--job", document, "--exclude", "-"}, []string{"u2", "u3"}, "1 excluded"},
		"column":        {"", []string{"--job", document, "--exclude", columns, "--column", "uid"}, []string{"u1", "u2"}, "1 excluded"},
		"column of one": {"", []string{"--text", "hello", "--targets", listFile(t, "u1", "u3"), "--exclude", columns, "--column", "uid"}, []string{"u1"}, "1 excluded"},
		"other column":  {"", []string{"--text", "hello", "--targets", columns, "--exclude", listFile(t, "u1"), "--column", "uid"}, []string{"u3"}, "1 targets accepted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.enqueueWith(tt.stdin, append([]string{"send", "--wait"}, tt.args...)...)
			if got.code != 0 || !strings.Contains(got.err, tt.say) {
				t.Fatalf("exit %d, not %q: %s", got.code, tt.say, got.err)
			}
			if targets := slices.Sorted(maps.Keys(w.rows(strings.TrimSpace(got.out)))); !slices.Equal(targets, tt.want) {
				t.Errorf("targets: %q", targets)
			}
		})
	}
	if n := w.sim.Delivered("users", "u4"); n != 0 {
		t.Errorf("%d messages to one that was to be excluded", n)
	}
}

// An opt-out that is not understood refuses the job, and so does what leaves
// nobody.
func TestWrongExcludes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"invalid line":    {[]string{"--target", "u1", "--exclude", listFile(t, "u2", "u 3")}, []string{"exclude", "names.txt", "line 2"}},
		"which of two":    {[]string{"--target", "u1", "--exclude", listFile(t, "u2"), "--exclude", csvFile(t, "id\nu 3\n")}, []string{"exclude", "names.csv", "line 2"}},
		"absent":          {[]string{"--target", "u1", "--exclude", "absent.txt"}, []string{"--exclude", "absent.txt"}},
		"no extension":    {[]string{"--target", "u1", "--exclude", "absent"}, []string{"--exclude", "extension"}},
		"missing column":  {[]string{"--target", "u1", "--exclude", csvFile(t, "id\nu3\n"), "--column", "phone"}, []string{"--exclude", "phone"}},
		"nobody is left":  {[]string{"--target", "u1", "--exclude", listFile(t, "u1")}, []string{"target", "1 excluded"}},
		"all are skipped": {[]string{"--target", "u 1", "--skip-invalid"}, []string{"target", "1 invalid"}},
		"input twice":     {[]string{"--targets", "-", "--exclude", "-"}, []string{"--targets", "--exclude", "standard input"}},
		"input of two":    {[]string{"--target", "u1", "--exclude", "-", "--exclude", "-"}, []string{"--exclude", "standard input"}},
		"useless column":  {[]string{"--target", "u1", "--column", "phone"}, []string{"--column", "phone"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			for _, verb := range []string{"plan", "send"} {
				w.refuses(w.enqueueWith("u1\n", append([]string{verb, "--text", "hello"}, tt.args...)...), tt.want...)
			}
		})
	}
	document := jobFile(t, object{"target_type": "users", "target": []any{"u1"}, "msg": object{"type": "txt", "msg": "hello"}})
	w.refuses(w.enqueue("send", "--job", document, "--exclude", listFile(t, "u1")), "1 excluded")
	w.refuses(w.enqueueWith("{}", "send", "--job", "-", "--exclude", "-"), "--job", "--exclude")
	w.refuses(w.enqueueWith("{}", "send", "--job", "-", "--targets", "-"), "--job", "--targets")
}

// With --skip-invalid the valid names are taken and the others reported.
func TestSkipInvalid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var text strings.Builder
	for line := 1; line <= 50; line++ {
		fmt.Fprintf(&text, "user%s%d\n", strings.Repeat(" ", line%2), line)
	}
	got := w.enqueueWith(text.String(), "send", "--targets", "-", "--exclude", listFile(t, "user2", "user 2"), "--skip-invalid", "--text", "hello")
	id := strings.TrimSpace(got.out)
	if got.code != 0 || strings.Count(got.out, "\n") != 1 {
		t.Fatalf("exit %d, %q, %s", got.code, got.out, got.err)
	}
	for _, want := range []string{
		"24 targets accepted, 1 excluded, 25 invalid ones skipped", "line 1: ", "line 39: ", "and 5 more", "names.txt: line 2: ",
	} {
		if !strings.Contains(got.err, want) {
			t.Errorf("it does not say %q: %s", want, got.err)
		}
	}
	if strings.Contains(got.err, "line 41: ") {
		t.Errorf("more than 20 lines are named: %s", got.err)
	}
	rows := w.rows(id)
	if _, excluded := rows["user2"]; excluded || len(rows) != 24 || rows["user4"].Outcome != "pending" {
		t.Errorf("%d rows, the excluded one among them: %v", len(rows), excluded)
	}
}

// Several lists are one, and each is named in the faults of its lines.
func TestSeveralLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text, rows := listFile(t, "u1", "u2"), csvFile(t, "name,id\nBen,u2\nAnna,u3\n")
	id := w.send("--text", "hello", "--targets", text, "--targets", rows)
	if targets := slices.Sorted(maps.Keys(w.rows(id))); !slices.Equal(targets, []string{"u1", "u2", "u3"}) {
		t.Errorf("targets: %q", targets)
	}
	w = newWorld(t)
	wrong := listFile(t, "u1", "not a name")
	w.refuses(w.enqueue("send", "--text", "hello", "--targets", rows, "--targets", wrong), wrong+": line 2")
	w.refuses(w.enqueue("send", "--text", "hello", "--targets", rows+".gone", "--targets", text), "--targets")
}

// Lists of JSON have columns, too, and each kind of list may be packed.
func TestLinesOfJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects := "{\"name\":\"Anna\",\"uid\":\"U1\"}\r\n\n{\"uid\":\"u2\"}\n{\"uid\":\"u1\"}\n\"u3\"\n"
	for name, tt := range map[string]struct {
		list, exclude string
		args          []string
		want          []string
	}{
		"default column": {namedFile(t, "a.ndjson", "{\"id\":\"u1\"}\n\"U2\"\n"), listFile(t, "u9"), nil, []string{"u1", "u2"}},
		"column":         {namedFile(t, "a.jsonl", objects), listFile(t, "u3"), []string{"--column", "uid"}, []string{"u1", "u2"}},
		"packed":         {packed(t, namedFile(t, "a.ndjson", objects)), packed(t, csvFile(t, "uid\nu2\n")), []string{"--column", "uid"}, []string{"u1", "u3"}},
		"packed lines":   {packed(t, listFile(t, "u1", "u2")), packed(t, listFile(t, "u1")), nil, []string{"u2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			id := w.send(append([]string{"--text", "hello", "--targets", tt.list, "--exclude", tt.exclude}, tt.args...)...)
			if targets := slices.Sorted(maps.Keys(w.rows(id))); !slices.Equal(targets, tt.want) {
				t.Errorf("targets: %q", targets)
			}
		})
	}
	w = newWorld(t)
	for list, want := range map[string]string{
		namedFile(t, "broken.ndjson", "{\"id\":\"u1\"}\n{\"id\":\n"): "line 2",
		namedFile(t, "other.ndjson", "{\"phone\":\"u1\"}\n"):         "line 1",
		namedFile(t, "not-packed.txt.gz", "u1\n"):                    "gzip",
	} {
		w.refuses(w.enqueue("send", "--text", "hello", "--targets", list), want)
	}
}

// csvFile writes a list with columns.
func csvFile(t *testing.T, text string) string {
	t.Helper()
	return namedFile(t, "names.csv", text)
}

func namedFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// packed packs a file with gzip.
func packed(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return namedFile(t, filepath.Base(file)+".gz", small.String())
}
