package test

import (
	"fmt"
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
