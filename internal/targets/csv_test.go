package targets

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCSV(t *testing.T) {
	for name, tt := range map[string]struct {
		list, column string
		want         []string
	}{
		"nothing":                  {"", "", nil},
		"nothing, named column":    {"", "phone", nil},
		"header alone":             {"target\n", "", nil},
		"no header, one column":    {"u1\nu2\n", "", []string{"1:u1", "2:u2"}},
		"no header, first counts":  {"u1,Anna\nu2,Ben\n", "", []string{"1:u1", "2:u2"}},
		"target":                   {"id,user,username,target\n1,2,3,4\n", "", []string{"2:4"}},
		"username":                 {"id,user,username\n1,2,3\n", "", []string{"2:3"}},
		"user":                     {"id,user\n1,2\n", "", []string{"2:2"}},
		"id":                       {"name,id\n1,2\n", "", []string{"2:2"}},
		"case and blanks":          {" Name , UserName \nAnna, U1 \n", "", []string{"2:u1"}},
		"first of two":             {"id,id\n1,2\n", "", []string{"2:1"}},
		"named":                    {"id,Phone\n1,2\n", "phone", []string{"2:2"}},
		"named, not the usual one": {"target,alias\n1,2\n", " Alias ", []string{"2:2"}},
		"header in the data":       {"x\ntarget\n", "", []string{"1:x", "2:target"}},
		"BOM, CRLF, blank lines":   {"\ufeff\r\ntarget,x\r\n\r\nu1,1\r\n \r\nu2,2\r\n", "", []string{"4:u1", "6:u2"}},
		"rows of nothing":          {"id,x\n,\nu1,1\n , \t\n\"\"\n", "", []string{"3:u1"}},
		"quoted":                   {"x,id\n\"Doe, \"\"J\"\"\",\"u1\"\n", "", []string{"2:u1"}},
		"quoted behind a space":    {"id, x\nu1, \"a, b\"\n", "", []string{"2:u1"}},
		"lines in another column":  {"x,id\n\"a\nb\",u1\nc,u2\n", "", []string{"2:u1", "4:u2"}},
		"no cell":                  {"id,x\n,Anna\nu1,Ben\n", "", []string{"2!is empty", "3:u1"}},
		"short row":                {"x,id\nAnna\nBen,u2\n", "", []string{"2!has no column 2", "3:u2"}},
		"long row":                 {"id\nu1,x,y\n", "", []string{"2:u1"}},
		"bare quote":               {"id\nu\"1\nu2\n", "", []string{"2!is no CSV at byte 2: bare \" in non-quoted-field", "3:u2"}},
		"half quoted":              {"id\n\"u1\"x\nu2\n", "", []string{"2!is no CSV at byte 4: extraneous or missing \" in quoted-field", "3:u2"}},
		"open at the very end":     {"id\nu1\n\"u2", "", []string{"2:u1", "3!is no CSV at byte 4: extraneous or missing \" in quoted-field"}},
		"lines in the cell":        {"id\n\"u1\nu2\"\nu3\n", "", []string{"2!has the character \"\\n\" (user names have a-z, 0-9, _, - and .)", "4:u3"}},
		"other separator":          {"id;x\nu1;1\n", "", []string{"1!has the character \";\" (user names have a-z, 0-9, _, - and .)", "2!has the character \";\" (user names have a-z, 0-9, _, - and .)"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readString(t, tt.list, CSV, Options{Kind: Users, Column: tt.column})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What ends a CSV list for good: no name behind it may be trusted.
func TestCSVFatal(t *testing.T) {
	columns := strings.Repeat("c,", 24) + "last"
	longCell := strings.Repeat("x", maxLine+1)
	for name, tt := range map[string]struct {
		list, column string
		want         []string
		err          string
	}{
		"absent column":      {"id,Full name\n1,Anna\n", "phone", nil, `no column "phone"; the columns are "id", "Full name"`},
		"many columns":       {columns, "phone", nil, `"c", "c" and 5 more`},
		"long column":        {longCell[:1000], "phone", nil, `the columns are "` + strings.Repeat("x", 80) + `"`},
		"faulty first row":   {"i\"d\nu1\n", "", nil, `the first row, which may name the columns, cannot be read: line 1 is no CSV at byte 2`},
		"long first row":     {longCell + "\nu1\n", "", nil, `cannot be read: line 1 is longer than 1 MiB`},
		"open quote":         {"id\nu1\n\"u2\nu3\nu4\n", "", []string{"2:u1"}, `the quoted cell from line 3 to line 5 is no CSV`},
		"quote closed later": {"id\nu1\n\"u2\nu3\n\"u4\"\nu5\n", "", []string{"2:u1"}, `the quoted cell from line 3 to line 5 is no CSV`},
		"open quote, huge":   {"id\n\"u1\n" + strings.Repeat("user\n", maxLine/4), "", nil, `a quoted cell is longer than 1 MiB: is a quote not closed?`},
		"long line in quote": {"id\n\"u1\n" + longCell + "\nu2\n", "", nil, `a quoted cell is longer than 1 MiB`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readString(t, tt.list, CSV, Options{Kind: Users, Column: tt.column})
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ended with %v, want %s", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// More blank lines than a record may have bytes are still only blank lines.
func TestCSVManyBlankLines(t *testing.T) {
	got, err := readString(t, "id\n"+strings.Repeat("\n", maxLine+1)+"u1\n", CSV, Options{Kind: Users})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%d:u1", maxLine+3)}, got); diff != "" {
		t.Error(diff)
	}
}
