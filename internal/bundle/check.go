package bundle

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	maxURL  = 512
	maxName = 256
	maxPEM  = 256 << 10
	// maxRoots is how many certificates a PEM list holds at most.
	maxRoots = 64
	// maxTimeout is the longest query, in milliseconds.
	maxTimeout = 10 * 60 * 1000
	// maxMemory and minMemory bound a query's memory, in bytes.
	maxMemory = 1 << 40
	minMemory = 1 << 20
)

// Check holds every invariant of a bundle. Its errors wrap ErrBundle and name
// the entry at fault.
func (b *Bundle) Check() error {
	for _, check := range []func() error{
		b.checkHead, b.checkDatasets, b.KMS.check, b.checkKeys, b.checkProducers, b.checkIssuers, b.checkEgress, b.checkProfile, b.Limits.Check,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrBundle, err)
		}
	}
	return nil
}

func (b *Bundle) checkHead() error {
	switch {
	case b.Version != Version:
		return fmt.Errorf("version: %d is the only one known", Version)
	case !contract.IsID(b.Deployment):
		return errors.New("deployment: 1 to 63 of a-z, 0-9 and -")
	case b.Profile != Production && b.Profile != Simulation:
		return errors.New("profile: production or simulation")
	case b.Freshness != FreshnessNone && b.Freshness != FreshnessWitnesses:
		return errors.New("freshness: none or witnesses")
	}
	return nil
}

// checkProfile holds what only simulation may have.
func (b *Bundle) checkProfile() error {
	if b.Profile == Simulation {
		return nil
	}
	switch {
	case b.KMS.Endpoint != "" || len(b.KMS.CA) != 0:
		return errors.New("kms: an endpoint or CA of its own is for simulation only")
	case b.Freshness == FreshnessNone:
		return errors.New("freshness: none is for simulation only")
	}
	for _, d := range b.Datasets {
		if d.Contract.Mode == contract.Threshold {
			return fmt.Errorf("dataset %s: mode threshold is for simulation only", d.Contract.Dataset)
		}
	}
	return nil
}

func (b *Bundle) checkDatasets() error {
	if len(b.Datasets) == 0 || len(b.Datasets) > MaxDatasets {
		return fmt.Errorf("datasets: 1 to %d", MaxDatasets)
	}
	seen := map[string]bool{}
	for i := range b.Datasets {
		c := &b.Datasets[i].Contract
		if err := c.Check(); err != nil {
			return fmt.Errorf("dataset %d: %w", i+1, err)
		}
		if seen[c.Dataset] {
			return fmt.Errorf("dataset %s stands twice", c.Dataset)
		}
		seen[c.Dataset] = true
	}
	return nil
}

// checkKeys holds that every key is a key ARN of the bundle's region (no alias,
// whose target can move) and that the state has a key of its own.
func (b *Bundle) checkKeys() error {
	if err := isKeyARN(b.KMS.StateKeyARN, b.KMS.Region); err != nil {
		return fmt.Errorf("kms: state key: %w", err)
	}
	for _, d := range b.Datasets {
		if err := isKeyARN(d.KeyARN, b.KMS.Region); err != nil {
			return fmt.Errorf("dataset %s: key: %w", d.Contract.Dataset, err)
		}
		if d.KeyARN == b.KMS.StateKeyARN {
			return fmt.Errorf("dataset %s: key: it is the state key; the state needs one of its own", d.Contract.Dataset)
		}
	}
	return nil
}

func (k *KMS) check() error {
	if !IsRegion(k.Region) {
		return errors.New("kms: region: an AWS region such as eu-central-1")
	}
	if k.Endpoint != "" {
		if err := isHTTPS(k.Endpoint); err != nil {
			return fmt.Errorf("kms: endpoint: %w", err)
		}
	}
	if len(k.CA) != 0 {
		if err := isRoots(k.CA); err != nil {
			return fmt.Errorf("kms: CA: %w", err)
		}
	}
	return nil
}

func (b *Bundle) checkProducers() error {
	if len(b.Producers) > MaxProducers {
		return fmt.Errorf("producers: at most %d", MaxProducers)
	}
	names, keys := map[string]bool{}, map[string]bool{}
	for i, p := range b.Producers {
		if err := p.Check(); err != nil {
			return fmt.Errorf("producer %d: %w", i+1, err)
		}
		switch {
		case names[p.Name]:
			return fmt.Errorf("producer %s stands twice", p.Name)
		case keys[string(p.Key)]:
			return fmt.Errorf("producer %s has the key of another producer", p.Name)
		case len(p.Datasets) == 0:
			return fmt.Errorf("producer %s: names no dataset", p.Name)
		}
		names[p.Name], keys[string(p.Key)] = true, true
		seen := map[string]bool{}
		for _, d := range p.Datasets {
			if _, ok := b.Dataset(d); !ok || seen[d] {
				return fmt.Errorf("producer %s: names a dataset twice or one that the bundle doesn't have", p.Name)
			}
			seen[d] = true
		}
	}
	return nil
}

// Check holds what can be said of a producer by itself: its name and its key.
func (p *Producer) Check() error {
	switch {
	case !contract.IsID(p.Name):
		return errors.New("name: 1 to 63 of a-z, 0-9 and -")
	case len(p.Key) != ed25519.PublicKeySize:
		return fmt.Errorf("key: an Ed25519 public key has %d bytes", ed25519.PublicKeySize)
	}
	return nil
}

func (b *Bundle) checkIssuers() error {
	if len(b.Issuers) > MaxIssuers {
		return fmt.Errorf("issuers: at most %d", MaxIssuers)
	}
	seen := map[string]bool{}
	for i, s := range b.Issuers {
		if err := s.Check(); err != nil {
			return fmt.Errorf("issuer %d: %w", i+1, err)
		}
		if seen[s.URL] {
			return fmt.Errorf("issuer %d stands twice", i+1)
		}
		seen[s.URL] = true
	}
	return nil
}

// Check holds what can be said of an issuer by itself: everything.
func (s *Issuer) Check() error {
	if err := isHTTPS(s.URL); err != nil {
		return err
	}
	switch {
	case !isWord(s.Audience):
		return fmt.Errorf("audience: 1 to %d printable ASCII characters without spaces", maxName)
	case !isWord(s.RolesClaim):
		return fmt.Errorf("roles claim: 1 to %d printable ASCII characters without spaces", maxName)
	}
	if err := isRoots(s.TLSRoots); err != nil {
		return fmt.Errorf("TLS roots: %w", err)
	}
	return nil
}

func (b *Bundle) checkEgress() error {
	if len(b.Egress) > MaxEgress {
		return fmt.Errorf("egress: at most %d", MaxEgress)
	}
	seen := map[string]bool{}
	for i, hostport := range b.Egress {
		if !isHostPort(hostport) || seen[hostport] {
			return fmt.Errorf("egress: entry %d isn't a lower-case host:port, or stands twice", i+1)
		}
		seen[hostport] = true
	}
	return nil
}

// Check holds each limit within what the enclave can honour.
func (l *Limits) Check() error {
	switch {
	case l.MaxEnvelope < 1 || l.MaxEnvelope > limits.Envelope:
		return fmt.Errorf("limits: largest envelope: 1 to %d bytes", limits.Envelope)
	case l.MaxResultRows < 1 || l.MaxResultRows > MaxResultRows:
		return fmt.Errorf("limits: result rows: 1 to %d", MaxResultRows)
	case l.QueryTimeout < 1 || l.QueryTimeout > maxTimeout:
		return fmt.Errorf("limits: query timeout: 1 to %d milliseconds", maxTimeout)
	case l.QueryMemory < minMemory || l.QueryMemory > maxMemory:
		return fmt.Errorf("limits: query memory: %d to %d bytes", minMemory, maxMemory)
	}
	return nil
}

func isKeyARN(arn, region string) error {
	found, err := KeyRegion(arn)
	if err != nil {
		return err
	}
	if found != region {
		return errors.New("the key is in another region")
	}
	return nil
}

// KeyRegion answers the region of a KMS key, or why a text isn't a key's ARN.
func KeyRegion(arn string) (string, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" {
		return "", errors.New("not the ARN of a KMS key")
	}
	if ok, err := regexp.MatchString(`^aws(-[a-z]{1,16}){0,3}:[0-9]{12}:key/[A-Za-z0-9-]{1,128}$`, parts[1]+":"+parts[4]+":"+parts[5]); err != nil || !ok {
		return "", errors.New("not the ARN of a KMS key (an alias won't do)")
	}
	if !IsRegion(parts[3]) {
		return "", errors.New("not the ARN of a KMS key in a region")
	}
	return parts[3], nil
}

// IsRegion says whether a text is formed like the name of an AWS region.
func IsRegion(s string) bool {
	ok, err := regexp.MatchString(`^[a-z]{2,4}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$`, s)
	return err == nil && ok
}

func isHTTPS(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(text, " #?") {
		return errors.New("not an https URL without user, query and fragment")
	}
	if !isHostPort(HostPort(u)) {
		return errors.New("the URL's host isn't a lower-case name or address, or its port is none")
	}
	return nil
}

// HostPort is the host:port that an https URL is reached at, as Egress names it.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || net.JoinHostPort(host, port) != s {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && ip.String() == host
	}
	ok, err := regexp.MatchString(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, host)
	return err == nil && ok && len(host) <= 253
}

func isWord(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxName
}

// isRoots holds that b is certificates in PEM and nothing else.
func isRoots(b []byte) error {
	if len(b) > maxPEM {
		return fmt.Errorf("over %d bytes", maxPEM)
	}
	n := 0
	for rest := b; strings.TrimSpace(string(rest)) != ""; n++ {
		var block *pem.Block
		if !strings.HasPrefix(strings.TrimSpace(string(rest)), "-----BEGIN CERTIFICATE-----") {
			return errors.New("something other than certificates in PEM")
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || n == maxRoots {
			return fmt.Errorf("not 1 to %d certificates in PEM", maxRoots)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("certificate %d can't be read", n+1)
		}
	}
	if n == 0 {
		return errors.New("none given")
	}
	return nil
}
