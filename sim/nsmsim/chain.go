package nsmsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// region stands in the names below the root.
	region = "sim-local-1"
	// crlURL is where revocation lists would be; nothing answers there, and
	// verifiers of the real thing are told not to ask.
	crlURL = "http://crl-%s.simulation.invalid/crl/%s.crl"
	// noPathLen is a CA without a limit on the CAs below it.
	noPathLen = -1
	// serialSize is the size of a serial number, in bytes.
	serialSize = 16
)

// The lives of the levels below the root, as in the real hierarchy, and what
// is left of them when they are replaced. What is left of one covers the whole
// life of the next, so that the path of a document is never cut short.
const (
	regionalLife, regionalLeft = 481 * time.Hour, 160 * time.Hour
	zonalLife, zonalLeft       = 141 * time.Hour, 30 * time.Hour
	instanceLife, instanceLeft = 24 * time.Hour, 4 * time.Hour
	leafLife, leafLeft         = 3*time.Hour + leafBefore, 30 * time.Minute
	// leafBefore is how long before its making a leaf begins.
	leafBefore = 3 * time.Second
)

// link is one certificate and its key.
type link struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// lasts says whether the certificate is valid now and has that much left.
func (l *link) lasts(now time.Time, left time.Duration) bool {
	return l != nil && !now.Before(l.certificate.NotBefore) && now.Add(left).Before(l.certificate.NotAfter)
}

// signer is the path from the root to the leaf of one module, replaced level
// by level as it ages.
type signer struct {
	root               *Root
	instance, moduleID string
	levels             [3]*link // regional, zonal, instance
	leaf               *link
}

func newSigner(root *Root, instance, moduleID string, now time.Time) (*signer, error) {
	s := &signer{root: root, instance: instance, moduleID: moduleID}
	return s, s.renew(now)
}

// renew replaces what has aged, and everything below it.
func (s *signer) renew(now time.Time) error {
	if !s.root.lasts(now, regionalLife) {
		return errors.New("nsmsim: the root isn't valid at this time")
	}
	parent, fresh := &s.root.link, false
	for i, level := range []struct {
		left  time.Duration
		issue func(*link, time.Time) (*link, error)
	}{{regionalLeft, issueRegional}, {zonalLeft, issueZonal}, {instanceLeft, s.issueInstance}} {
		if fresh = fresh || !s.levels[i].lasts(now, level.left); fresh {
			l, err := level.issue(parent, now)
			if err != nil {
				return err
			}
			s.levels[i] = l
		}
		parent = s.levels[i]
	}
	if fresh || !s.leaf.lasts(now, leafLeft) {
		leaf, err := s.issueLeaf(now)
		if err != nil {
			return err
		}
		s.leaf = leaf
	}
	return nil
}

// bundle answers the certificates above the leaf, the root first.
func (s *signer) bundle() [][]byte {
	all := [][]byte{s.root.certificate.Raw}
	for _, l := range s.levels {
		all = append(all, l.certificate.Raw)
	}
	return all
}

func issueRegional(parent *link, now time.Time) (*link, error) {
	id := randomHex(16)
	return issueCA(parent, &x509.Certificate{
		Subject:               subject(id + "." + region + "." + rootName),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate + regionalLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		CRLDistributionPoints: []string{fmt.Sprintf(crlURL, "nitro-enclaves", randomHex(32))},
	}, 2)
}

func issueZonal(parent *link, now time.Time) (*link, error) {
	id := randomHex(16)
	return issueCA(parent, &x509.Certificate{
		Subject:               subject(id + ".zonal." + region + "." + rootName),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate + zonalLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		CRLDistributionPoints: []string{fmt.Sprintf(crlURL, region+"-nitro-enclaves", randomHex(32))},
	}, 1)
}

func (s *signer) issueInstance(parent *link, now time.Time) (*link, error) {
	return issueCA(parent, &x509.Certificate{
		Subject:   subject(s.instance + "." + region + "." + rootName),
		NotBefore: now,
		NotAfter:  now.Add(instanceLife),
		KeyUsage:  x509.KeyUsageCertSign,
	}, 0)
}

// issueLeaf issues what signs documents: no CA, no key identifiers, and a key
// usage that isn't critical.
func (s *signer) issueLeaf(now time.Time) (*link, error) {
	parent := *s.levels[len(s.levels)-1].certificate
	parent.SubjectKeyId = nil // keeps the leaf from naming it
	return issue(&link{&parent, s.levels[len(s.levels)-1].key}, &x509.Certificate{
		Subject:               subject(s.moduleID + "." + region + "." + partition),
		NotBefore:             now.Add(-leafBefore),
		NotAfter:              now.Add(-leafBefore + leafLife),
		BasicConstraintsValid: true,
		// digitalSignature and contentCommitment (RFC 5280, section 4.2.1.3).
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{0x03, 0x02, 0x06, 0xc0}}},
	})
}

func subject(commonName string) pkix.Name {
	return pkix.Name{Organization: []string{organization}, OrganizationalUnit: []string{"Not AWS"}, CommonName: commonName}
}

// issueCA issues a CA certificate, self-signed when there is no parent.
func issueCA(parent *link, template *x509.Certificate, pathLen int) (*link, error) {
	template.BasicConstraintsValid, template.IsCA = true, true
	template.MaxPathLen, template.MaxPathLenZero = pathLen, pathLen == 0
	return issue(parent, template)
}

// issue makes a key on P-384 and its certificate.
func issue(parent *link, template *x509.Certificate) (*link, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	if parent == nil {
		parent = &link{template, key}
	}
	serial := make([]byte, serialSize)
	rand.Read(serial)                 // never fails
	serial[0] = serial[0]&0x7f | 0x40 // positive, and never shorter
	template.SerialNumber = new(big.Int).SetBytes(serial)
	template.SignatureAlgorithm = x509.ECDSAWithSHA384
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	return &link{certificate, key}, nil
}
