package apiclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func callOf(targets ...string) Call {
	return Call{TargetType: Users, Lines: []byte(strings.Join(targets, "\n")), Count: len(targets)}
}

func TestReadAnswer(t *testing.T) {
	tests := []struct {
		name string
		body string
		call Call
		ids  bool
		want Answer
	}{
		{
			name: "the page's sample",
			body: fixture(t, "200_success.json"),
			call: callOf("user2", "user3"),
		}, {
			name: "message ids",
			body: fixture(t, "200_message_ids.json"),
			call: callOf("user2", "user3"), ids: true,
			want: Answer{IDs: []string{"1029457500870543736", "1029457500870543737"}},
		}, {
			name: "message ids that nobody asked for",
			body: fixture(t, "200_message_ids.json"),
			call: callOf("user2", "user3"),
		}, {
			name: "ids as JSON numbers keep every digit",
			body: `{"data":{"b":1029457500870543737 , "a": 1029457500870543736}}`,
			call: callOf("a", "b"), ids: true,
			want: Answer{IDs: []string{"1029457500870543736", "1029457500870543737"}},
		}, {
			name: "ids asked for, success answered",
			body: `{"data":{"a":"success","b":"\u0037"}}`,
			call: callOf("a", "b"), ids: true,
			want: Answer{IDs: []string{"", "7"}},
		}, {
			name: "unordered and folded",
			body: `{"data":{"user-c.long_name":"success","ub":"success","ua":"success"}}`,
			call: callOf("uA", "UB", "User-C.Long_Name"),
		}, {
			name: "a newline at the end of the list",
			body: `{"data":{"b":"success","a":"success"}}`,
			call: Call{TargetType: Users, Lines: []byte("a\nb\n"), Count: 2},
		}, {
			name: "failures and missing",
			body: fixture(t, "200_partial.json"),
			call: callOf("u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"),
			want: Answer{
				Failed: []TargetFailure{
					{1, "user not in group"},
					{2, `{"error":"blocked","to":["u3"]}`},
					{3, "false"},
					{4, "null"},
					{5, ""},
					{6, "-1"},
					{7, "1.5"},
				},
				Missing: []int{8},
			},
		}, {
			name: "one twice, and one not at all",
			body: `{"data":{"a":"success","a":"success","c":"success"}}`,
			call: callOf("a", "b", "c"),
			want: Answer{Missing: []int{1}},
		}, {
			name: "what is written like the name and means another",
			body: `{"data":{"a\n":"success"}}`,
			call: callOf(`a\n`),
			want: Answer{Missing: []int{0}},
		}, {
			name: "another one instead",
			body: `{"data":{"a":"success","x":"success","c":"success"}}`,
			call: callOf("a", "b", "c"),
			want: Answer{Missing: []int{1}},
		}, {
			name: "failures in another order",
			body: `{"data":{"c":"x","a":"y","b":"z"}}`,
			call: callOf("a", "b", "c"),
			want: Answer{Failed: []TargetFailure{{0, "y"}, {1, "z"}, {2, "x"}}},
		}, {
			name: "nothing said",
			body: `{"data":{}}`,
			call: callOf("a", "b"),
			want: Answer{Missing: []int{0, 1}},
		}, {
			name: "names that are no target",
			body: `{"data":{"x":{"a":"failed"},"a":"success","aa":"failed","":"failed"}}`,
			call: callOf("a"),
		}, {
			name: "escapes",
			body: `{"d\u0061ta":{"\u0075\u0031":"\u0073uccess","u2":"not \"found\"\n","u\/3":"success"}}`,
			call: callOf("u1", "u2", "u/3"),
			want: Answer{Failed: []TargetFailure{{1, "not \"found\"\n"}}},
		}, {
			name: "data elsewhere is no data",
			body: `{"x":{"data":{"a":"failed"}},"y":["data",{"data":{}}],"data":{"a":"success"},"z":"data"}`,
			call: callOf("a"),
		}, {
			name: "refused once is refused",
			body: `{"data":{"a":"failed","A":"7","b":"7","B":"failed","b":"failed again"}}`,
			call: callOf("a", "b"), ids: true,
			want: Answer{Failed: []TargetFailure{{0, "failed"}, {1, "failed"}}, IDs: []string{"", ""}},
		}, {
			name: "targets given twice",
			body: `{"data":{"a":"1","b":"failed"}}`,
			call: callOf("a", "b", "A", "B", "c", "C"), ids: true,
			want: Answer{
				Failed:  []TargetFailure{{1, "failed"}, {3, "failed"}},
				Missing: []int{4, 5},
				IDs:     []string{"1", "", "1", "", "", ""},
			},
		}, {
			name: "a long text is cut between characters",
			body: `{"data":{"a":"x` + strings.Repeat("é", 600) + `"}}`,
			call: callOf("a"),
			want: Answer{Failed: []TargetFailure{{0, "x" + strings.Repeat("é", 511)}}},
		}, {
			name: "what differs in the case bit only is not always the same letter",
			body: "{\"data\":{\"u@x\":\"failed\",\"U`X\":\"success\",\"u[\":\"success\"}}",
			call: callOf("u@x", "u`x", "u{"),
			want: Answer{Failed: []TargetFailure{{0, "failed"}}, Missing: []int{2}},
		}, {
			name: "no UTF-8",
			body: "{\"data\":{\"a\":\"b\xffd\"}}",
			call: callOf("a"),
			want: Answer{Failed: []TargetFailure{{0, "b\uFFFDd"}}},
		},
	}
	var r reader
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.read([]byte(tt.body), tt.call, tt.ids)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadAnswerUnreadable(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"empty", "", "the answer is empty"},
		{"blank", " \r\n", "the answer is empty"},
		{"HTML", fixture(t, "200_html.html"), "the answer is no JSON: invalid character '<'"},
		{"truncated", fixture(t, "200_truncated.json"), "the answer is no JSON: unexpected end of JSON input"},
		{"closing brace missing", `{"data":{"a":"success"}`, "the answer is no JSON: unexpected end of JSON input"},
		{"two documents", `{"data":{"a":"success"}}{}`, "the answer is no JSON: invalid character '{' after top-level value"},
		{"no data", `{"action":"post"}`, "the answer has no data object"},
		{"data is no object", `{"data":["a"]}`, "the answer has no data object"},
		{"data is null", `{"data":null}`, "the answer has no data object"},
		{"array", `[{"data":{"a":"success"}}]`, "the answer has no data object"},
		{"newline in a string", "{\"data\":{\"a\":\"succ\ness\"}}", "the answer is no JSON: invalid character '\\n'"},
		{"no such escape", `{"data":{"a":"\x"}}`, "the answer is no JSON: invalid character 'x'"},
		{"no value", `{"data":{"a":}}`, "the answer is no JSON"},
		{"wrong brackets", `{"data":{"a":[}]}}`, "the answer is no JSON"},
		{"comma at the end", `{"data":{"a":"success",}}`, "the answer is no JSON"},
		{"words", `{"data":{"a":succes}}`, "the answer is no JSON"},
	}
	var r reader
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.read([]byte(tt.body), callOf("a"), true)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(Answer{}, got); diff != "" {
				t.Errorf("something was read:\n%s", diff)
			}
		})
	}
}

// A document that was cut anywhere is never taken for a whole one.
func TestReadAnswerCutAnywhere(t *testing.T) {
	body := []byte(strings.TrimSpace(fixture(t, "200_partial.json")))
	var r reader
	for n := range body {
		if got, err := r.read(body[:n], callOf("u1"), false); err == nil {
			t.Errorf("cut after %d bytes: %+v", n, got)
		}
	}
	if _, err := r.read(body, callOf("u1"), false); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// oracle reads an answer with encoding/json. It tells nothing of documents that
// name something twice, which a map cannot hold, or that are no UTF-8, which it
// mends in its own way.
func oracle(body []byte, call Call) (answer Answer, readable, tells bool) {
	var document map[string]json.RawMessage
	var data map[string]json.RawMessage
	if json.Unmarshal(body, &document) != nil || json.Unmarshal(document["data"], &data) != nil || data == nil {
		return answer, false, true
	}
	if !utf8.Valid(body) || repeats(body) || repeats(document["data"]) {
		return answer, true, false
	}
	said := map[string]json.RawMessage{}
	for name, value := range data {
		name = foldASCII(name)
		if _, twice := said[name]; twice {
			return answer, true, false
		}
		said[name] = value
	}
	answer.IDs = make([]string, call.Count)
	for i, target := range strings.Split(string(call.Lines), "\n") {
		value, found := said[foldASCII(target)]
		if !found {
			answer.Missing = append(answer.Missing, i)
			continue
		}
		text := string(value)
		if value[0] == '"' {
			_ = json.Unmarshal(value, &text)
		}
		switch {
		case text == "success":
		case text != "" && strings.Trim(text, "0123456789") == "":
			answer.IDs[i] = text
		default:
			answer.Failed = append(answer.Failed, TargetFailure{i, cut(mask(text, ""), maxText)})
		}
	}
	return answer, true, true
}

func foldASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// repeats reports whether the object has two members of one name.
func repeats(object []byte) bool {
	fields, _ := members(object)
	names := map[string]bool{}
	for _, f := range fields {
		names[f.Name] = true
	}
	return len(names) < len(fields)
}

func FuzzReadAnswer(f *testing.F) {
	for _, name := range []string{"200_success.json", "200_message_ids.json", "200_partial.json", "200_truncated.json", "200_html.html"} {
		f.Add([]byte(fixture(f, name)))
	}
	for _, body := range []string{
		`{"data":{"U1":"success","\u00752":7,"u3":"1"}}`, `{"data":{"u1":-1,"u2":[{"}":"]"}],"u3":"\\"}} `,
		`{"data":{"u1":1e5,"u2":true,"u3":"\ud83d\ude00"},"x":{"y":[]}}`, `{"data":{"":"success","u1":"","u2":null}}`,
		`{"x":"\"","data" : { } }`, `{"data":{"":"success","U1":"success","u2":"success","U3":"success", "u/5" : "success","long-user.name_4":"success"}}`, `{"data":{"u1":"success"}}}`, `{"data":{"u1" "success"}}`, "{\"data\":{\"u\xff\":\"a\x00\"}}",
	} {
		f.Add([]byte(body))
	}
	call := callOf("u1", "U2", "u3", "", "long-user.name_4", "u/5")
	f.Fuzz(func(t *testing.T, body []byte) {
		var r reader
		got, err := r.read(body, call, true)
		want, readable, tells := oracle(body, call)
		if (err == nil) != readable {
			t.Fatalf("error %v, but readable is %v", err, readable)
		}
		if err != nil || !tells {
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answer (-encoding/json +got):\n%s", diff)
		}
		want.IDs = nil
		if got, err = r.read(body, call, false); err != nil || !cmp.Equal(want, got) {
			t.Errorf("without ids, %v:\n%s", err, cmp.Diff(want, got))
		}
	})
}

func TestFoldHash(t *testing.T) {
	fold := func(name []byte) string {
		folded := slices.Clone(name)
		for i, c := range folded {
			folded[i] = lower(c)
		}
		return string(folded)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SliceOfN(rapid.Byte(), 0, 40)
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") {
			b = slices.Clone(a)
			for i := range b {
				if rapid.Bool().Draw(t, "bit") {
					b[i] ^= 0x20
				}
			}
		}
		if same := fold(a) == fold(b); same != (foldHash(a) == foldHash(b)) {
			t.Errorf("%q and %q: same is %t, their hashes are %x and %x", a, b, same, foldHash(a), foldHash(b))
		}
	})
}

// The names of a list are alike. An answer about others of them than those of
// the call must not have the same sum of hashes.
func TestSumsOfSimilarNames(t *testing.T) {
	names := map[uint64]string{}
	for n := range 200_000 {
		name := fmt.Sprintf("customer-%06d", n)
		step := foldHash([]byte(name+"1")) - foldHash([]byte(name+"0"))
		if other, again := names[step]; again {
			t.Fatalf("%s1 and %s0 have the same sum as %s0 and %s1", name, other, name, other)
		}
		names[step] = name
	}
}

// bigAnswer is a whole call and its answer, unordered as the vendor's may be.
func bigAnswer(value func(i int) string) (Call, []byte) {
	const count = 320
	var targets []string
	for i := range count {
		targets = append(targets, fmt.Sprintf("user%08d", i*7919))
	}
	call := callOf(targets...)
	var b bytes.Buffer
	b.WriteString(`{"action":"post","application":"8be024f0-e978-11e8-b697-5d598d5f8402","path":"/messages",` +
		`"uri":"https://a1.easecdn.com/chat-demo/testapp/messages","data":{`)
	for n, i := range rand.New(rand.NewPCG(1, 2)).Perm(count) {
		if n > 0 {
			b.WriteByte(',')
		}
		_, _ = fmt.Fprintf(&b, "%q:%q", targets[i], value(i))
	}
	b.WriteString(`},"timestamp":1543922150902,"duration":1,"organization":"chat-demo","applicationName":"testapp"}`)
	return call, b.Bytes()
}

func success(int) string     { return "success" }
func messageID(i int) string { return fmt.Sprint(1029457500870543736 + i) }

func TestReadAnswerAllocatesNothing(t *testing.T) {
	call, body := bigAnswer(success)
	var r reader
	allocs := testing.AllocsPerRun(100, func() {
		if got, err := r.read(body, call, false); err != nil || got.Failed != nil || got.Missing != nil {
			t.Fatal(got, err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestMessageIDsInOrder(t *testing.T) {
	call, body := bigAnswer(messageID)
	var r reader
	got, err := r.read(body, call, true)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]string, call.Count)
	for i := range want {
		want[i] = messageID(i)
	}
	if !slices.Equal(got.IDs, want) {
		t.Errorf("ids %v", got.IDs)
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	perTarget := func(b *testing.B, count int) {
		b.Helper()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/target")
	}
	call, body := bigAnswer(success)
	b.Run("bare scan", func(b *testing.B) {
		for b.Loop() {
			if bytes.Count(body, []byte(`"success"`)) != call.Count {
				b.Fatal("not all")
			}
		}
		perTarget(b, call.Count)
	})
	b.Run("success", func(b *testing.B) {
		var r reader
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.read(body, call, false); err != nil {
				b.Fatal(err)
			}
		}
		perTarget(b, call.Count)
	})
	b.Run("message ids", func(b *testing.B) {
		call, body := bigAnswer(messageID)
		var r reader
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.read(body, call, true); err != nil {
				b.Fatal(err)
			}
		}
		perTarget(b, call.Count)
	})
	b.Run("into a map", func(b *testing.B) {
		for b.Loop() {
			var document struct{ Data map[string]string }
			if err := json.NewDecoder(bytes.NewReader(body)).Decode(&document); err != nil && err != io.EOF {
				b.Fatal(err)
			}
		}
		perTarget(b, call.Count)
	})
}
