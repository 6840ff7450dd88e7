package chatsim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkAccept takes a call of 230 users of 16 bytes, without the network.
func BenchmarkAccept(b *testing.B) {
	s := newSim(b, nil)
	body := message(Users, manyNames("u", 230)...)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, unifiedPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer demo-token")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	if st := s.Stats(); st.AcceptedCalls != st.Calls {
		b.Fatalf("stats %+v", st)
	}
}
