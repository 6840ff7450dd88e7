package apiclient

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkSend is a whole call of 320 targets over loopback; the allocations
// are the client's and the server's together.
func BenchmarkSend(b *testing.B) {
	call, answer := bigAnswer(success)
	call.Body = make([]byte, 5000)
	server := serve(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	})
	client := newClient(b, server.URL)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Send(b.Context(), call); err != nil {
			b.Fatal(err)
		}
	}
}
