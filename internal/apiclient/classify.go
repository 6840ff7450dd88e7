package apiclient

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const maxRetryAfter = 24 * time.Hour

// The vendor's words, in lower case: "params to's size can't exceed limit 600".
// Quotes come in many forms; a limit of anything but `to` says nothing of targets.
var limitSaid = regexp.MustCompile(`\bto[^a-z]{0,6}s size can[^a-z]{0,6}(?:not|t) exceed limit\D{0,3}([1-9][0-9]{0,8})\b`)

// classify says what an answer means (CHAT-API: "Errors"); nil for a 2xx, whose
// body has the word. The body may be empty, HTML or cut short: the status alone
// then decides. Texts are neither masked nor shortened yet. now turns a
// Retry-After date into a duration.
func classify(status int, header http.Header, body []byte, now time.Time) *Error {
	if status/100 == 2 {
		return nil
	}
	code, description := vendorError(body)
	e := &Error{
		Status: status, Code: code, Description: description,
		RetryAfter: retryAfter(header, now), Body: string(body),
	}
	said := strings.ToLower(description)
	if said == "" { // no JSON, or cut within the description
		said = strings.ToLower(e.Body)
	}
	switch {
	case status == http.StatusBadRequest:
		e.Kind = KindRejected
		if limit := limitSaid.FindStringSubmatch(said); limit != nil {
			e.Kind = KindTooMany
			e.Limit, _ = strconv.Atoi(limit[1]) // at most nine digits
		}
	case status == http.StatusUnauthorized:
		e.Kind = KindUnauthorized
	case status == http.StatusForbidden:
		e.Kind = KindNotAllowed
		if strings.Contains(said, "reach limit") || strings.Contains(said, "forbidden for url") {
			e.Kind, e.Scope = KindThrottled, ScopeTargets
		}
	case status == http.StatusNotFound, status/100 == 3:
		e.Kind = KindUnknownApp
	case status == http.StatusProxyAuthRequired: // not the API's word
		e.Kind = KindUnavailable
	case status == http.StatusRequestTimeout:
		e.Kind = KindUnknown
	case status == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case status == http.StatusTooManyRequests:
		e.Kind, e.Scope = KindThrottled, ScopeCalls
		if code == "resource_limited" || code == "" && strings.Contains(said, "resource_limited") {
			e.Kind, e.Scope = KindPlan, ""
		}
	case status/100 == 4, status == http.StatusNotImplemented, status == http.StatusInternalServerError && disguised(code):
		e.Kind = KindUnsupported
	case status == http.StatusServiceUnavailable:
		e.Kind = KindUnavailable
	default:
		e.Kind = KindUnknown
	}
	return e
}

// disguised reports whether the code of a 500 really means a wrong URL or method.
func disguised(code string) bool {
	switch code {
	case "no_full_text_index", "unsupported_service_operation", "web_application":
		return true
	}
	return false
}

// vendorError reads the vendor's error object. What stands before the place
// where a body was cut off still counts.
func vendorError(body []byte) (code, description string) {
	var number string
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return "", ""
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			break
		}
		switch name {
		case "error":
			code, _ = stringOf(value)
		case "error_description":
			description, _ = stringOf(value)
		case "error_code":
			number = strings.Trim(string(value), `"`)
		}
	}
	if code == "" {
		code = number
	}
	return code, description
}

// retryAfter reads the header's seconds or date; 0 = none, or none that is ahead.
func retryAfter(header http.Header, now time.Time) time.Duration {
	said := strings.TrimSpace(header.Get("Retry-After"))
	var wait time.Duration
	if seconds, err := strconv.Atoi(said); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, maxRetryAfter))
}
