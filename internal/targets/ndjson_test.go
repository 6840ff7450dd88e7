package targets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestNDJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		list, column string
		want         []string
	}{
		"nothing":                 {"", "", nil},
		"strings":                 {"\"u1\"\n\"U2\"", "", []string{"1:u1", "2:u2"}},
		"BOM, CRLF, blanks":       {"\ufeff\"u1\"\r\n\r\n \t\n \"u2\" \r\n", "", []string{"1:u1", "4:u2"}},
		"blanks in a string":      {`" u1 "` + "\n" + `"\tu2\n"`, "", []string{"1:u1", "2:u2"}},
		"escapes":                 {`"\u0075\u0031"`, "", []string{"1:u1"}},
		"empty":                   {`""` + "\n" + `{"id":" "}`, "", []string{"1!is empty", "2!is empty"}},
		"objects":                 {`{"id":"u1"}` + "\n" + `{"x":[1,{"id":"u9"}],"user":"u2"}`, "", []string{"1:u1", "2:u2"}},
		"mixed":                   {`"u1"` + "\n" + `{"id":"u2"}` + "\n3", "", []string{"1:u1", "2:u2", "3:3"}},
		"target before username":  {`{"id":"1","user":"2","username":"3","target":"4"}`, "", []string{"1:4"}},
		"username before user":    {`{"username":"3","id":"1","user":"2"}`, "", []string{"1:3"}},
		"user before id":          {`{"id":"1","user":"2"}`, "", []string{"1:2"}},
		"column of each line":     {`{"id":"1"}` + "\n" + `{"user":"2"}`, "", []string{"1:1", "2:2"}},
		"other case":              {`{"ID":"1","x":"2"}`, "", []string{"1:1"}},
		"exact before other case": {`{"ID":"1","id":"2","Id":"3"}`, "", []string{"1:2"}},
		"better in other case":    {`{"id":"1","Target":"2"}`, "", []string{"1:2"}},
		"escaped column":          {`{"\u0069d":"1"}`, "", []string{"1:1"}},
		"named":                   {`{"id":"1","phone":"2"}` + "\n" + `{"id":"1","Phone":"3"}`, "phone", []string{"1:2", "2:3"}},
		"named, a string":         {`"u1"`, "phone", []string{"1:u1"}},
		"named, absent":           {`{"id":"1"}` + "\n" + `{"phone":"2"}`, "phone", []string{`1!has no column "phone"`, "2:2"}},
		"absent":                  {`{}` + "\n" + `{"a":{"id":"1"}}`, "", []string{"1!has none of the columns target, username, user, id", "2!has none of the columns target, username, user, id"}},
		"twice":                   {`{"id":"1","id":"1"}` + "\n" + `{"Id":"1","ID":"1"}`, "", []string{`1!has the column "id" twice`, `2!has the column "Id" twice`}},
		"others twice":            {`{"x":1,"x":2,"id":"u1","user":"u2","id":"u3"}`, "", []string{"1:u2"}},
		"integers":                {"66213271109633\n" + `{"id":12345678901234567890123}` + "\n0", "", []string{"1:66213271109633", "2:12345678901234567890123", "3:0"}},
		"other numbers":           {"-1\n1.0\n1e3\n-0", "", []string{"1!is a JSON number, but no plain integer", "2!is a JSON number, but no plain integer", "3!is a JSON number, but no plain integer", "4!is a JSON number, but no plain integer"}},
		"other values":            {"null\ntrue\n[\"u1\"]\n" + `{"id":{}}` + "\n" + `{"id":false}`, "", []string{"1!is no JSON string", "2!is no JSON string", "3!is a JSON array, not a string", "4!is a JSON object, not a string", "5!is no JSON string"}},
		"null is a value":         {`{"target":null,"id":"u1"}`, "", []string{"1!is no JSON string"}},
		"no JSON":                 {"u1\n{'id':1}\n\"u2\"", "", []string{"1!is invalid JSON at byte 1: invalid character 'u' at start of value", "2!is invalid JSON at byte 2: invalid character '\\'' at start of value", "3:u2"}},
		"leading zeros":           {"007", "", []string{"1!is invalid JSON at byte 2: a second value"}},
		"open":                    {"\"u1\n{\"id\":\"u2\"\n{\"id\":\n{\n\"u3\"", "", []string{"1!is invalid JSON at byte 4: unexpected EOF", "2!is invalid JSON at byte 11: unexpected EOF", "3!is invalid JSON at byte 7: unexpected EOF", "4!is invalid JSON at byte 2: unexpected EOF", "5:u3"}},
		"more behind":             {`"u1" "u2"` + "\n" + `{"id":"u1"}{}` + "\n" + `"u1",`, "", []string{"1!is invalid JSON at byte 5: a second value", "2!is invalid JSON at byte 12: a second value", "3!is invalid JSON at byte 5: invalid character ',' at start of value"}},
		"several lines":           {"{\n\"id\":\"u1\"\n}", "", []string{"1!is invalid JSON at byte 2: unexpected EOF", "2!is invalid JSON at byte 5: invalid character ':' at start of value", "3!is invalid JSON at byte 1: invalid character '}' at start of value"}},
		"control character":       {"\"u\x01\"\n\"u1\x00\"", "", []string{"1!is invalid JSON at byte 3: invalid character '\\x01' in string (expecting non-control character)", "2!is invalid JSON at byte 4: invalid character '\\x00' in string (expecting non-control character)"}},
		"no UTF-8":                {"\"u\xff\"\n{\"x\":\"\xff\",\"id\":\"u1\"}", "", []string{"1!has the byte 0xff, which is no text in UTF-8", "2!is invalid JSON at byte 7: invalid UTF-8"}},
		"lone surrogate":          {`"u\ud800"`, "", []string{`1!is invalid JSON at byte 3: invalid surrogate pair ` + "`\\ud800\"`" + ` in string`}},
		"quote at the end":        {`"u1\"`, "", []string{"1!is invalid JSON at byte 6: unexpected EOF"}},
		"one quote":               {`"`, "", []string{"1!is invalid JSON at byte 2: unexpected EOF"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readString(t, tt.list, NDJSON, Options{Kind: Users, Column: tt.column})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNDJSONLongLines(t *testing.T) {
	padding := strings.Repeat("x", maxLine)
	list := strings.Join([]string{
		`{"x":"` + padding[:maxLine/2] + `","id":"u1"}`, `{"x":"` + padding + `","id":"u2"}`, `"u3"`, `"` + padding, `{"id":4}`,
	}, "\n")
	got, err := readString(t, list, NDJSON, Options{Kind: Groups})
	want := []string{"1:u1", "2!is longer than 1 MiB", "3:u3", "4!is longer than 1 MiB", "5:4"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNDJSONAllocations(t *testing.T) {
	for list, want := range map[string]float64{
		strings.Repeat(`"Some.User_Name-42"`+"\n", 2000):                     0,
		strings.Repeat(`{"x":1,"id":"Some.User_N\u0061me-42"}`+"\r\n", 2000): 0,
	} {
		r, err := NewReader(strings.NewReader(list), NDJSON, Options{Kind: Users})
		if err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(1000, func() {
			if _, _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}); got != want {
			t.Errorf("%v allocations for %.40s, want %v", got, list, want)
		}
	}
}

// Whatever encoding/json finds in a line, the reader finds, too.
func FuzzNDJSON(f *testing.F) {
	addLists(f)
	for _, list := range []string{`"u1"`, `{"id":"u1"}`, `{"x":[{}],"ID":7}`, `"\u0075"`, `{"id":1e3}`, "\"u1\n\"", `{"id":"a","id":"b"}`} {
		f.Add([]byte(list))
	}
	surrogate := regexp.MustCompile(`(?i)\\ud[89a-f]`)
	f.Fuzz(func(t *testing.T, list []byte) {
		if surrogate.Match(list) || bytes.HasPrefix(list, gzipMagic) {
			return // encoding/json takes lone surrogates; FuzzGzip
		}
		var want []string
		for i, line := range bytes.Split(bytes.TrimPrefix(list, []byte("\ufeff")), []byte("\n")) {
			if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
				want = append(want, fmt.Sprintf("%d%s", i+1, wantedOf(line)))
			}
		}
		got, err := readString(t, string(list), NDJSON, Options{Kind: Users})
		if errors.Is(err, errUTF16) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, item := range got { // how a fault is called is for TestNDJSON
			if line, problem, found := strings.Cut(item, "!"); found {
				got[i] = line + "!"
				if strings.HasPrefix(problem, "is invalid JSON") {
					got[i] += "JSON"
				}
			}
		}
		if !utf8.Valid(list) { // which encoding/json takes for JSON
			for _, items := range [][]string{want, got} {
				for i := range items {
					items[i] = strings.TrimSuffix(items[i], "JSON")
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// wantedOf gives ":name", "!" for what is no name, "!JSON" for what is no JSON.
func wantedOf(line []byte) string {
	if !utf8.Valid(line) {
		return "!"
	}
	if !json.Valid(line) {
		return "!JSON"
	}
	value := json.RawMessage(line)
	if line[0] == '{' {
		value = memberOf(line)
	}
	var name string
	if regexp.MustCompile(`^[0-9]+$`).Match(value) {
		name = string(value)
	} else if json.Unmarshal(value, &name) != nil {
		return "!"
	}
	sent, err := Normalize(Users, nil, []byte(strings.Trim(name, " \t\r\n")))
	if err != nil {
		return "!"
	}
	return ":" + string(sent)
}

// memberOf gives the value in the column of a valid object; nil if there is none
// or more than one.
func memberOf(object []byte) json.RawMessage {
	type member struct {
		key   string
		value json.RawMessage
	}
	var members []member
	dec := json.NewDecoder(bytes.NewReader(object))
	_, _ = dec.Token()
	for dec.More() {
		key, _ := dec.Token()
		m := member{key: key.(string)}
		_ = dec.Decode(&m.value)
		members = append(members, m)
	}
	for _, column := range []string{"target", "username", "user", "id"} {
		for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
			var found []json.RawMessage
			for _, m := range members {
				if same(m.key, column) {
					found = append(found, m.value)
				}
			}
			if len(found) == 1 {
				return found[0]
			}
			if len(found) > 1 {
				return nil
			}
		}
	}
	return nil
}
