package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A cluster of this kind lives for one test run.
const lifetime = 30 * 24 * time.Hour

// One certificate that the cluster needs: who it is for and where it may stand.
type subject struct {
	name         string // of the files: name.crt and name.key
	commonName   string
	organization []string // Kubernetes takes groups from here
	usage        x509.ExtKeyUsage
	names        []string
	addresses    []string
}

// node-certificates makes every certificate of the cluster in one folder: the
// authority, the API server's, the clients' and the key of service accounts.
// What is there already stays, so that a restart finds the same authority.
func runCertificates() {
	directory := flag.String("directory", "", "the folder to write to")
	node := flag.String("node", "", "the node's name")
	addresses := flag.String("addresses", "", "the API server's addresses, comma-separated")
	flag.Parse()
	if *directory == "" || *node == "" || *addresses == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := makeCertificates(*directory, *node, strings.Split(*addresses, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "node-certificates:", err)
		os.Exit(1)
	}
}

func makeCertificates(directory, node string, addresses []string) error {
	if _, err := os.Stat(filepath.Join(directory, "complete")); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	authority := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "adytum-test-cluster"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority, err = issue(directory, "ca", authority, authority, authorityKey, authorityKey)
	if err != nil {
		return err
	}
	subjects := []subject{
		{
			name: "apiserver", commonName: "kube-apiserver", usage: x509.ExtKeyUsageServerAuth,
			names:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			addresses: addresses,
		},
		{name: "kubelet", commonName: "kubelet", usage: x509.ExtKeyUsageServerAuth, names: []string{node}, addresses: addresses},
		{name: "metrics-server-serving", commonName: "metrics-server", usage: x509.ExtKeyUsageServerAuth, names: []string{"metrics-server.kube-system.svc"}},
		{name: "metrics-server", commonName: "system:metrics-server"},
		{name: "network-policies", commonName: "system:network-policies"},
		{name: "aggregator", commonName: "aggregator"},
		{name: "admin", commonName: "admin", organization: []string{"system:masters"}},
		{name: "apiserver-kubelet", commonName: "apiserver-kubelet", organization: []string{"system:masters"}},
		{name: "controller-manager", commonName: "system:kube-controller-manager"},
		{name: "scheduler", commonName: "system:kube-scheduler"},
		{name: "proxy", commonName: "system:kube-proxy"},
		{name: "node", commonName: "system:node:" + node, organization: []string{"system:nodes"}},
	}
	for _, each := range subjects {
		if each.usage != x509.ExtKeyUsageServerAuth {
			each.usage = x509.ExtKeyUsageClientAuth
		}
		if err := each.issue(directory, authority, authorityKey); err != nil {
			return err
		}
	}
	// Service account tokens: the controllers sign, the API server verifies.
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(directory, "service-accounts.key"), accounts); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "complete"), nil, 0o600)
}

func (s subject) issue(directory string, authority *x509.Certificate, authorityKey crypto.Signer) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: s.commonName, Organization: s.organization},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{s.usage},
		DNSNames:    s.names,
	}
	for _, text := range s.addresses {
		address := net.ParseIP(text)
		if address == nil {
			return fmt.Errorf("not an IP address: %q", text)
		}
		template.IPAddresses = append(template.IPAddresses, address)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	_, err = issue(directory, s.name, template, authority, key, authorityKey)
	return err
}

func issue(directory, name string, template, authority *x509.Certificate, key *ecdsa.PrivateKey, authorityKey crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(directory, name+".crt"), text, 0o600); err != nil {
		return nil, err
	}
	if err := writeKey(filepath.Join(directory, name+".key"), key); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
