package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate for 127.0.0.1 and its key to files, and returns
// who trusts it.
func certificate(t *testing.T) (cert, key string, trusting *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "crier"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert, key = write("cert.pem", "CERTIFICATE", signed), write("key.pem", "EC PRIVATE KEY", packed)
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	trusting = x509.NewCertPool()
	trusting.AddCert(parsed)
	return cert, key, trusting
}

func TestGatewayTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert, key, trusting := certificate(t)
	g := w.serve("--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(g.url, "https://") {
		t.Errorf("it serves %s", g.url)
	}
	g.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	if got := g.list(200, "j", strings.Join(names(15_000), "\n")); !strings.Contains(got.body, `"total":15000`) {
		t.Errorf("%+v", got)
	}
	plain := &gateway{w: w, url: "http" + strings.TrimPrefix(g.url, "https"), client: http.DefaultClient}
	if got, err := plain.try("GET", "/v1/jobs", nil); err == nil && got.status != 400 {
		t.Errorf("without TLS: %+v", got)
	}
}

// What a gateway must not be started with is told by name, and nothing started.
func TestGatewayUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert, key, _ := certificate(t)
	empty := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		vars []string
		want []string
	}{
		"everywhere, no key": {args: []string{"--listen", "0.0.0.0:0"}, want: []string{"ENQUEUE_API_KEYS"}},
		"any address":        {args: []string{"--listen", ":0"}, want: []string{"ENQUEUE_API_KEYS"}},
		"no address":         {args: []string{"--listen", "nowhere"}, want: []string{"ENQUEUE_LISTEN"}},
		"key alone":          {args: []string{"--tls-key", key}, want: []string{"ENQUEUE_TLS_CERT"}},
		"certificate alone":  {args: []string{"--tls-cert", cert}, want: []string{"ENQUEUE_TLS_KEY"}},
		"not a certificate":  {args: []string{"--tls-cert", key, "--tls-key", key}, want: []string{"ENQUEUE_TLS_CERT"}},
		"keys twice":         {vars: []string{"ENQUEUE_API_KEYS=s3cret", "ENQUEUE_API_KEYS_FILE=" + empty}, want: []string{"ENQUEUE_API_KEYS"}},
		"no key in it":       {vars: []string{"ENQUEUE_API_KEYS= , "}, want: []string{"ENQUEUE_API_KEYS"}},
		"no key in the file": {args: []string{"--api-keys-file", empty}, want: []string{"ENQUEUE_API_KEYS_FILE"}},
		"a bad key":          {vars: []string{"ENQUEUE_API_KEYS=s3cret key"}, want: []string{"ENQUEUE_API_KEYS"}},
		"every fault": {
			args: []string{"--max-targets", "0", "--idle-timeout", "soon", "--shutdown-timeout", "0s", "--max-memory", "101"},
			want: []string{"ENQUEUE_MAX_TARGETS", "ENQUEUE_IDLE_TIMEOUT", "SHUTDOWN_TIMEOUT", "ENQUEUE_MAX_MEMORY"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.in(t).with(tt.vars...).enqueue(append([]string{"serve", "--listen", "127.0.0.1:0"}, tt.args...)...)
			w.in(t).refuses(got, tt.want...)
			if strings.Contains(got.err, "s3cret") {
				t.Errorf("a key is shown: %s", got.err)
			}
		})
	}
}
