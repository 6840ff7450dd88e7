package targets

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// read gives the list as "line:name" items, a faulty line as "line!problem", and
// whatever ended the list early.
func read(r *Reader) (items []string, err error) {
	for {
		name, line, err := r.Next()
		var bad *InvalidError
		switch {
		case err == nil:
			items = append(items, fmt.Sprintf("%d:%s", line, name))
		case errors.As(err, &bad):
			items = append(items, fmt.Sprintf("%d!%s", bad.Line, bad.Problem))
		case errors.Is(err, io.EOF):
			return items, nil
		default:
			return items, err
		}
	}
}

func readString(t testing.TB, list string, format Format, opt Options) ([]string, error) {
	t.Helper()
	r, err := NewReader(strings.NewReader(list), format, opt)
	if err != nil {
		t.Fatal(err)
	}
	return read(r)
}

func TestText(t *testing.T) {
	for name, tt := range map[string]struct {
		list string
		want []string
	}{
		"nothing":           {"", nil},
		"BOM alone":         {"\ufeff", nil},
		"blank lines only":  {"\n\r\n \t \n", nil},
		"plain":             {"u1\nu2\n", []string{"1:u1", "2:u2"}},
		"no last line end":  {"u1\nu2", []string{"1:u1", "2:u2"}},
		"BOM, CRLF, blanks": {"\ufeffu1\r\n\r\n  \r\nU2\r\n", []string{"1:u1", "4:u2"}},
		"last line CR only": {"u1\r", []string{"1:u1"}},
		"blanks around":     {"  u1\t\n\tu2  \n", []string{"1:u1", "2:u2"}},
		"one letter":        {"a", []string{"1:a"}},
		"a header is data":  {"username\nu1\n", []string{"1:username", "2:u1"}},
		"repeats stay":      {"u1\nU1\n", []string{"1:u1", "2:u1"}},
		"faults between":    {"u1\nu 2\n\nu3\n", []string{"1:u1", "2!has a space at byte 2", "4:u3"}},
		"a second BOM":      {"u1\n\ufeffu2\n", []string{"1:u1", "2!has the character \"\\ufeff\" (user names have a-z, 0-9, _, - and .)"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readString(t, tt.list, Text, Options{Kind: Users})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLongLines(t *testing.T) {
	name := strings.Repeat("a", MaxBytes)
	list := strings.Join([]string{
		strings.Repeat(" ", bufferSize) + name, // the line is long, the name is not
		strings.Repeat("x", maxLine+1),
		name,
		strings.Repeat("y", 3*maxLine),
		"u1",
		strings.Repeat("z", maxLine+1),
	}, "\n")
	want := []string{
		"1:" + name, "2!is longer than 1 MiB", "3:" + name, "4!is longer than 1 MiB", "5:u1", "6!is longer than 1 MiB",
	}
	for _, format := range []Format{Text, CSV} {
		got, err := readString(t, list, format, Options{Kind: Users})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
}

// A stream that breaks off within a line must not yield the first half of a name.
func TestBrokenStream(t *testing.T) {
	broken := errors.New("connection reset")
	for format, list := range map[Format]string{
		Text: "user1\nuser2\nuse", CSV: "user1\nuser2\nuse", NDJSON: "\"user1\"\n\"user2\"\n\"use\"",
	} {
		for end, want := range map[error]error{
			broken:                            broken,
			io.ErrUnexpectedEOF:               io.ErrUnexpectedEOF,
			fmt.Errorf("wrapped: %w", io.EOF): io.ErrUnexpectedEOF, // not io.EOF: the list did not end there
		} {
			stream := io.MultiReader(strings.NewReader(list), iotest.ErrReader(end))
			r, err := NewReader(stream, format, Options{Kind: Users})
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(r)
			if diff := cmp.Diff([]string{"1:user1", "2:user2"}, got); diff != "" {
				t.Errorf("%s, %v: %s", format, end, diff)
			}
			if !errors.Is(err, want) {
				t.Errorf("%s, %v: ended with %v, want %v", format, end, err, want)
			}
			if _, _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("%s: then %v, want %v again", format, again, err)
			}
		}
	}
}

func TestOneByteAtATime(t *testing.T) {
	list := "\ufeffname,target\r\nx,U1\r\n\r\n\"a, b\",u2"
	r, err := NewReader(iotest.OneByteReader(strings.NewReader(list)), CSV, Options{Kind: Users})
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(r)
	if diff := cmp.Diff([]string{"2:u1", "4:u2"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestUTF16(t *testing.T) {
	for _, format := range []Format{Text, CSV, NDJSON} {
		for _, list := range []string{"\xff\xfeu\x001\x00\n\x00", "\xfe\xff\x00u\x001\x00\n"} {
			got, err := readString(t, list, format, Options{Kind: Users})
			if got != nil || err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
				t.Errorf("%s: %v, %v", format, got, err)
			}
		}
	}
}

func TestInvalidErrors(t *testing.T) {
	for _, name := range []string{"invalid.txt", "invalid.csv", "invalid.ndjson"} {
		r, err := Open(filepath.Join("testdata", name), Options{Kind: Users})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		var got bytes.Buffer
		for {
			target, line, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				fmt.Fprintf(&got, "line %d: %s\n", line, target)
				continue
			}
			if bad := (*InvalidError)(nil); !errors.As(err, &bad) {
				t.Fatal(err)
			}
			fmt.Fprintln(&got, err)
		}
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write := func(name, list string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, path := range []string{
		write("a.txt", "u1\n"), write("b.CSV", "ID\nu1\n"), write("c.ndjson", `"u1"`), write("d.JsonL", `{"id":"u1"}`),
		write("a.txt.gz", pack("u1\n")), write("b.csv.GZ", pack("id\nu1\n")), write("c.NDJSON.gz", pack(`"u1"`)), write("d.jsonl.gz", pack(`{"id":"u1"}`)),
		write("packed.txt", pack("u1\n")),
	} {
		r, err := Open(path, Options{Kind: Users})
		if err != nil {
			t.Fatal(err)
		}
		if name, _, err := r.Next(); err != nil || string(name) != "u1" {
			t.Errorf("%s: %q, %v", path, name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for path, want := range map[string]string{
		write("list.xlsx", ""):             `unknown extension ".xlsx" (known: .txt, .csv, .ndjson, .jsonl, each also with .gz; - is standard input)`,
		write("list.xlsx.gz", ""):          `unknown extension ".xlsx.gz"`,
		write("list.gz", ""):               `unknown extension ".gz"`,
		write("list", ""):                  `unknown extension "" (known: .txt, .csv, .ndjson, .jsonl, each also with .gz; - is standard input)`,
		filepath.Join(dir, "nosuch.txt"):   "nosuch.txt: no such file or directory",
		filepath.Join(dir, "no", "no.csv"): "no such file or directory",
	} {
		if _, err := Open(path, Options{Kind: Users}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s) = %v, want %s", path, err, want)
		}
	}
}

func TestOpenStandardInput(t *testing.T) {
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	for _, list := range []string{"u1\nu2\n", pack("u1\nu2\n")} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		os.Stdin = in
		if _, err := out.WriteString(list); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Open("-", Options{Kind: Users})
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(r)
		if diff := cmp.Diff([]string{"1:u1", "2:u2"}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := in.Stat(); err != nil {
			t.Errorf("standard input was closed: %v", err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, tt := range map[string]struct {
		format Format
		opt    Options
	}{
		`unknown kind "people"`: {Text, Options{Kind: "people"}},
		`unknown kind ""`:       {CSV, Options{}},
		`no column "phone"`:     {Text, Options{Kind: Users, Column: "phone"}},
		`unknown format "xml"`:  {"xml", Options{Kind: Users}},
		`unknown kind "rooms"`:  {NDJSON, Options{Kind: "rooms", Gzip: true}},
	} {
		if _, err := NewReader(strings.NewReader("u1"), tt.format, tt.opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", tt, err, want)
		}
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	list := strings.Repeat("Some.User_Name-42\r\n", 2000)
	r, err := NewReader(strings.NewReader(list), Text, Options{Kind: Users})
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a line, want 0", allocs)
	}
}
