package targets

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzText(f *testing.F) {
	addLists(f)
	f.Add([]byte(strings.Repeat("x", bufferSize-1) + "\nu1\n"))
	f.Add([]byte(strings.Repeat(" ", bufferSize) + "u1"))
	f.Fuzz(func(t *testing.T, list []byte) {
		if bytes.HasPrefix(list, gzipMagic) {
			return // FuzzGzip
		}
		var want []string
		for i, line := range bytes.Split(bytes.TrimPrefix(list, []byte("\ufeff")), []byte("\n")) {
			if line = bytes.Trim(line, " \t\r\n"); len(line) == 0 {
				continue
			}
			if len(line) > maxLine {
				return // TestLongLines
			}
			name, err := Normalize(Users, nil, line)
			if err != nil {
				want = append(want, fmt.Sprintf("%d!%s", i+1, err))
			} else {
				want = append(want, fmt.Sprintf("%d:%s", i+1, name))
			}
		}
		got, err := readString(t, string(list), Text, Options{Kind: Users})
		if errors.Is(err, errUTF16) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever encoding/csv reads as a whole, the reader gives the same cells of.
func FuzzCSV(f *testing.F) {
	addLists(f)
	f.Add([]byte("x,id\n\"a\nb\",u1\n"))
	f.Add([]byte("id,x\n\"u1"))
	f.Fuzz(func(t *testing.T, list []byte) {
		if bytes.HasPrefix(list, gzipMagic) {
			return // FuzzGzip
		}
		rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(list, []byte("\ufeff"))))
		rows.FieldsPerRecord = -1
		rows.TrimLeadingSpace = true
		records, csvErr := rows.ReadAll()
		got, err := readString(t, string(list), CSV, Options{Kind: Users})
		if csvErr != nil || err != nil {
			return // a faulty list must only not crash here; TestCSV has what comes of it
		}
		index := -1
		var want []string
		for _, row := range records {
			if strings.Trim(strings.Join(row, ""), " \t\r\n") == "" {
				continue
			}
			if index < 0 {
				if index = max(0, headerOf(row)); headerOf(row) >= 0 {
					continue
				}
			}
			want = append(want, wanted(row, index))
		}
		for i := range got { // line numbers are for TestCSV
			got[i] = got[i][strings.IndexAny(got[i], ":!"):]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever compress/gzip unpacks, the reader reads as if it had been unpacked,
// and nothing else.
func FuzzGzip(f *testing.F) {
	for _, packed := range []string{pack("u1\nu2"), pack("u1\nu", "2\n"), pack("u1") + "\n", pack("", "\ufeffu 1")[:40]} {
		f.Add([]byte(packed))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		var list []byte
		z, gzipErr := gzip.NewReader(bytes.NewReader(packed))
		if gzipErr == nil {
			list, gzipErr = io.ReadAll(z)
		}
		got, err := readString(t, string(packed), Text, Options{Kind: Users, Gzip: true})
		if gzipErr != nil && err == nil {
			t.Fatalf("no error, want %v", gzipErr)
		}
		if gzipErr != nil || errors.Is(err, gzip.ErrHeader) || bytes.HasPrefix(list, gzipMagic) {
			return // compress/gzip takes reserved bits of a header; packed twice is not unpacked twice
		}
		want, wantErr := readString(t, string(list), Text, Options{Kind: Users})
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (wantErr == nil) {
			t.Error(diff, err, wantErr)
		}
	})
}

func headerOf(row []string) int {
	for _, name := range []string{"target", "username", "user", "id"} {
		for i, cell := range row {
			if strings.EqualFold(strings.TrimSpace(cell), name) {
				return i
			}
		}
	}
	return -1
}

func wanted(row []string, index int) string {
	if index >= len(row) {
		return fmt.Sprintf("!has no column %d", index+1)
	}
	name, err := Normalize(Users, nil, []byte(strings.Trim(row[index], " \t\r\n")))
	if err != nil {
		return "!" + err.Error()
	}
	return ":" + string(name)
}

func addLists(f *testing.F) {
	for _, list := range []string{"", "\ufeff", "u1\nu2", "\ufeffU1\r\n\r\n u2 \r\n", "an na\n", "a\xff\n", "target,x\nu1,2\n,\n", "\"u\"\"1\",2\n"} {
		f.Add([]byte(list))
	}
	for _, name := range []string{"invalid.txt", "invalid.csv"} {
		list, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(list)
	}
}
