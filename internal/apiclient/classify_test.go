package apiclient

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Every row of CHAT-API's tables of errors and limits, and the same statuses
// with empty, HTML and truncated bodies. A new answer of the vendor is one row
// and one fixture.
var answers = []struct {
	fixture string // named by its status; "" and a status = an empty body
	status  int
	want    Error // without Status, Description and Body
}{
	{"400_json_parse.json", 400, Error{Kind: KindRejected, Code: "json_parse"}},
	{"400_illegal_argument.json", 400, Error{Kind: KindRejected, Code: "illegal_argument"}},
	{"400_illegal_target.json", 400, Error{Kind: KindRejected, Code: "message_send_error"}},
	{"400_message_too_large.json", 400, Error{Kind: KindRejected, Code: "message_send_error"}},
	{"400_message_length.json", 400, Error{Kind: KindRejected, Code: "message_send_error"}},
	{"400_only_error_code.json", 400, Error{Kind: KindRejected, Code: "14007"}},
	{"400_too_many_users.json", 400, Error{Kind: KindTooMany, Code: "message_send_error", Limit: 600}},
	{"400_too_many_groups.json", 400, Error{Kind: KindTooMany, Code: "message_send_error", Limit: 3}},
	{"400_too_many_rooms.json", 400, Error{Kind: KindTooMany, Code: "message_send_error", Limit: 10}},
	{"400_too_many_truncated.json", 400, Error{Kind: KindRejected, Code: "message_send_error"}},
	{"400_html.html", 400, Error{Kind: KindRejected}},
	{"", 400, Error{Kind: KindRejected}},

	{"401_auth_bad_access_token.json", 401, Error{Kind: KindUnauthorized, Code: "auth_bad_access_token"}},
	{"401_expired.json", 401, Error{Kind: KindUnauthorized, Code: "auth_bad_access_token"}},
	{"401_unauthorized.json", 401, Error{Kind: KindUnauthorized, Code: "unauthorized"}},
	{"401_empty.txt", 401, Error{Kind: KindUnauthorized}},

	{"403_reach_limit.json", 403, Error{Kind: KindThrottled, Code: "message_send_error", Scope: ScopeTargets}},
	{"403_reach_limit_truncated.json", 403, Error{Kind: KindThrottled, Code: "message_send_error", Scope: ScopeTargets}},
	{"403_forbidden_for_url.json", 403, Error{Kind: KindThrottled, Code: "forbidden", Scope: ScopeTargets}},
	{"403_forbidden_op.json", 403, Error{Kind: KindNotAllowed, Code: "forbidden_op"}},
	{"403_forbidden_service_operation.json", 403, Error{Kind: KindNotAllowed, Code: "forbidden_service_operation"}},
	{"403_html.html", 403, Error{Kind: KindNotAllowed}},
	{"", 403, Error{Kind: KindNotAllowed}},

	{"404_organization_application_not_found.json", 404, Error{Kind: KindUnknownApp, Code: "organization_application_not_found"}},
	{"404_service_resource_not_found.json", 404, Error{Kind: KindUnknownApp, Code: "service_resource_not_found"}},
	{"404_html.html", 404, Error{Kind: KindUnknownApp}},
	{"", 301, Error{Kind: KindUnknownApp}},
	{"302_html.html", 302, Error{Kind: KindUnknownApp}},
	{"", 304, Error{Kind: KindUnknownApp}},
	{"", 307, Error{Kind: KindUnknownApp}},
	{"", 308, Error{Kind: KindUnknownApp}},

	{"405_empty.txt", 405, Error{Kind: KindUnsupported}},
	{"415_unsupported.json", 415, Error{Kind: KindUnsupported, Code: "web_application"}},
	{"501_not_implemented.json", 501, Error{Kind: KindUnsupported, Code: "not_implemented"}},
	{"500_no_full_text_index.json", 500, Error{Kind: KindUnsupported, Code: "no_full_text_index"}},
	{"500_unsupported_service_operation.json", 500, Error{Kind: KindUnsupported, Code: "unsupported_service_operation"}},
	{"500_web_application.json", 500, Error{Kind: KindUnsupported, Code: "web_application"}},

	{"", 408, Error{Kind: KindUnknown}},
	{"500_internal.json", 500, Error{Kind: KindUnknown, Code: "internal_error"}},
	{"", 500, Error{Kind: KindUnknown}},
	{"502_html.html", 502, Error{Kind: KindUnknown}},
	{"504_html.html", 504, Error{Kind: KindUnknown}},
	{"503_html.html", 503, Error{Kind: KindUnavailable}},
	{"", 503, Error{Kind: KindUnavailable}},

	{"413_html.html", 413, Error{Kind: KindTooLarge}},
	{"", 413, Error{Kind: KindTooLarge}},
	{"429_reach_limit.json", 429, Error{Kind: KindThrottled, Code: "reach_limit", Scope: ScopeCalls}},
	{"429_html.html", 429, Error{Kind: KindThrottled, Scope: ScopeCalls}},
	{"", 429, Error{Kind: KindThrottled, Scope: ScopeCalls}},
	{"429_resource_limited.json", 429, Error{Kind: KindPlan, Code: "resource_limited"}},
	{"429_resource_limited_truncated.json", 429, Error{Kind: KindPlan, Code: "resource_limited"}},
	{"429_resource_limited_cut.json", 429, Error{Kind: KindPlan}},

	{"", 402, Error{Kind: KindUnsupported}},
	{"", 409, Error{Kind: KindUnsupported}},
	{"", 422, Error{Kind: KindUnsupported}},
	{"", 499, Error{Kind: KindUnsupported}},
	{"", 505, Error{Kind: KindUnknown}},
	{"", 520, Error{Kind: KindUnknown}},
	{"", 101, Error{Kind: KindUnknown}},
	{"", 999, Error{Kind: KindUnknown}},
}

func TestClassify(t *testing.T) {
	for _, tt := range answers {
		t.Run(strconv.Itoa(tt.status)+" "+tt.fixture, func(t *testing.T) {
			var body string
			if tt.fixture != "" {
				if !strings.HasPrefix(tt.fixture, strconv.Itoa(tt.status)) {
					t.Fatalf("fixture %s for status %d", tt.fixture, tt.status)
				}
				body = fixture(t, tt.fixture)
			}
			got := classify(tt.status, http.Header{}, []byte(body), time.Now())
			want := tt.want
			want.Status, want.Body = tt.status, body
			if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(Error{}, "Description")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClassifyUsesEveryFixture(t *testing.T) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, tt := range answers {
		used[tt.fixture] = true
	}
	for _, file := range files {
		if name := file.Name(); name[0] >= '3' && name[0] <= '5' && !used[name] {
			t.Errorf("%s is in no row", name)
		}
	}
}

func TestClassifySuccess(t *testing.T) {
	for _, status := range []int{200, 201, 204} {
		if e := classify(status, http.Header{}, []byte("<html>"), time.Now()); e != nil {
			t.Errorf("%d: %v", status, e)
		}
	}
}

func TestClassifyDescription(t *testing.T) {
	body := fixture(t, "429_reach_limit.json")
	if e := classify(429, http.Header{}, []byte(body), time.Now()); e.Description != "This request has reached api limit" {
		t.Errorf("description %q", e.Description)
	}
}

// The vendor's words for too many targets, as gateways and older versions may
// put them, and other limits that say nothing of targets.
func TestClassifyTooMany(t *testing.T) {
	for said, limit := range map[string]int{
		"params to's size can't exceed limit 600":     600,
		"Params TO's size CAN'T exceed limit 3":       3,
		"param to’s size can’t exceed limit 20.":      20,
		"params tos size cant exceed limit: 20":       20,
		"params 'to''s size cannot exceed limit = 20": 20,
		"to&#39;s size can not exceed limit 10":       10,

		"params to's size can't exceed limit":               0,
		"params to's size can't exceed limit 0":             0,
		"params to's size can't exceed limit 9999999999":    0,
		"message length exceed limit 5000":                  0,
		"ext's size can't exceed limit 1024":                0,
		"photo's size can't exceed limit 1024":              0,
		"params from's size can't exceed limit 64":          0,
		"customExts size can't exceed limit 16":             0,
		"the size of the body to send can't exceed limit 5": 0,
	} {
		for _, body := range []string{said, `{"error":"message_send_error","error_description":` + string(quote(said)) + `}`} {
			want := KindTooMany
			if limit == 0 {
				want = KindRejected
			}
			if e := classify(400, http.Header{}, []byte(body), time.Now()); e.Kind != want || e.Limit != limit {
				t.Errorf("%s: %s, limit %d", body, e.Kind, e.Limit)
			}
		}
	}
}

// Bodies that are JSON but not the vendor's error object.
func TestClassifyOddBodies(t *testing.T) {
	for _, body := range []string{
		`null`, `[]`, `"reach limit of words"`, `{"error":{"code":1}}`, `{"error":null,"error_description":7}`, `{`, `{"error"`, `{"error":`,
		`{"error_code":{}}`, "\x00\xff", strings.Repeat("[", 20_000),
	} {
		e := classify(502, http.Header{}, []byte(body), time.Now())
		if e.Kind != KindUnknown || e.Status != 502 || e.Description != "" {
			t.Errorf("%.20q: %+v", body, e)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		said string
		want time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"7", 7 * time.Second},
		{" 7 ", 7 * time.Second},
		{"-5", 0},
		{"86401", 24 * time.Hour},
		{"9223372036854775807", 24 * time.Hour},
		{"soon", 0},
		{"1.5", 0},
		{"Sun, 01 Mar 2026 12:01:30 GMT", 90 * time.Second},
		{"Sunday, 01-Mar-26 12:00:05 GMT", 5 * time.Second},
		{"Sun, 01 Mar 2026 11:00:00 GMT", 0},
		{"Sun, 01 Mar 2099 12:00:00 GMT", 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.said, func(t *testing.T) {
			for _, status := range []int{403, 429, 503} {
				e := classify(status, http.Header{"Retry-After": {tt.said}}, nil, now)
				if e.RetryAfter != tt.want {
					t.Errorf("%d: %v, want %v", status, e.RetryAfter, tt.want)
				}
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("connection refused")
	tests := []struct {
		e    Error
		want string
	}{
		{Error{Kind: KindThrottled, Status: 429, Code: "reach_limit"}, "apiclient: send: 429 reach_limit"},
		{Error{Kind: KindUnknown, Status: 502}, "apiclient: send: 502 Bad Gateway"},
		{Error{Kind: KindUnknown, Status: 520}, "apiclient: send: 520"},
		{Error{Kind: KindUnavailable, Err: cause}, "apiclient: send: unavailable: connection refused"},
		{Error{Kind: KindUnknown, Status: 200, Err: cause}, "apiclient: send: 200 OK: connection refused"},
	}
	for _, tt := range tests {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if tt.e.Err != nil && !errors.Is(&tt.e, cause) {
			t.Errorf("%v does not unwrap", &tt.e)
		}
	}
}

func TestKindsAreDistinct(t *testing.T) {
	seen := map[Kind]bool{}
	for _, k := range Kinds() {
		if seen[k] || k == "" {
			t.Errorf("%q", k)
		}
		seen[k] = true
	}
	for _, tt := range answers {
		if !seen[tt.want.Kind] {
			t.Errorf("%q is not listed", tt.want.Kind)
		}
	}
}

func TestCleanMasks(t *testing.T) {
	const secret = "YWMt+tok/en_0123456789=="
	tests := []struct{ name, body, want string }{
		{"as it is", "you sent " + secret + "!", "you sent ***!"},
		{"in a header", "Authorization: Bearer " + secret, "Authorization: Bearer ***"},
		{"escaped slashes", `{"auth":"YWMt+tok\/en_0123456789=="}`, `{"auth":"***"}`},
		{"encoded otherwise", "authorization=bearer+YWMt%2Btok%2Fen_0123456789%3D%3D&x=1", "authorization=bearer ***&x=1"},
		{"cut off by the server", "got: BEARER YWMt+tok/en_01234567", "got: BEARER ***"},
		{"across our own cut", strings.Repeat("x", 1020) + secret, strings.Repeat("x", 1020) + "***"},
		{"a sentence", "a bearer token is missing", "a bearer token is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Error{Body: tt.body, Description: tt.body}
			e.clean(secret)
			if e.Body != tt.want || e.Description != tt.want {
				t.Errorf("body %q, description %q, want %q", e.Body, e.Description, tt.want)
			}
		})
	}
}

func TestCleanCode(t *testing.T) {
	for _, tt := range []struct{ code, secret, want string }{
		{"bad_token_12345678", "token_12345678", "bad_***"},
		{"reach_limit", "reach", "reach_limit"}, // a part of an ordinary word
		{strings.Repeat("c", 100), "", strings.Repeat("c", maxCode)},
	} {
		e := Error{Code: tt.code}
		e.clean(tt.secret)
		if e.Code != tt.want {
			t.Errorf("code %q, want %q", e.Code, tt.want)
		}
	}
}
