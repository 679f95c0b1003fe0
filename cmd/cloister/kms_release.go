package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// releases answers the releases that keys are released to, and what to say
// about those that aren't.
func (p *keyPolicies) releases(cmd *cobra.Command, pcr16 attestation.PCR) ([]keypolicy.Release, []string, error) {
	if p.release == "" {
		r, err := p.one(cmd, pcr16)
		return []keypolicy.Release{r}, nil, err
	}
	raw, err := readPolicyFile(cmd, p.release)
	if err != nil {
		return nil, nil, err
	}
	appraisal, err := policy.Load(raw)
	if err != nil {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("%s: %w", p.release, err)}
	}
	var all []keypolicy.Release
	var notes []string
	fits := false
	for _, rel := range appraisal.Releases() {
		if !rel.NotAfter.IsZero() && time.Now().After(rel.NotAfter) {
			notes = append(notes, fmt.Sprintf("release %s is over and left out", rel.Name))
			continue
		}
		pcrs := map[string]string{}
		for n, v := range rel.PCRs {
			pcrs[fmt.Sprint(n)] = v.String()
		}
		r, err := release(pcrs)
		if err != nil {
			return nil, nil, fmt.Errorf("release %s: %w", rel.Name, err)
		}
		fits = fits || rel.PCRs[policy.BundlePCR] == pcr16
		all = append(all, r)
	}
	if !fits {
		return nil, nil, fmt.Errorf("no release in force has this bundle's PCR16, %s: no enclave with it would get a key", pcr16)
	}
	return all, notes, nil
}

// one answers the release that --eif and --pcr name. They may not disagree.
func (p *keyPolicies) one(cmd *cobra.Command, pcr16 attestation.PCR) (keypolicy.Release, error) {
	pcrs := map[string]string{"16": pcr16.String()}
	if p.eif != "" {
		file, image, err := openImage(p.eif)
		if err != nil {
			return keypolicy.Release{}, &exitError{exitUsage, err}
		}
		defer file.Close()
		m, err := image.Measure(cmd.Context(), nil)
		if err != nil {
			return keypolicy.Release{}, fmt.Errorf("%s: %w", p.eif, err)
		}
		pcrs["0"], pcrs["1"], pcrs["2"] = m.PCR0.String(), m.PCR1.String(), m.PCR2.String()
	}
	for n, v := range p.pcrs {
		if known, ok := pcrs[n]; ok && !strings.EqualFold(known, v) {
			return keypolicy.Release{}, &exitError{exitUsage, fmt.Errorf("--pcr %s: not that of the image or the bundle", n)}
		}
		pcrs[n] = v
	}
	return release(pcrs)
}

// release takes registers by number. One that a key policy here can't hold is
// an error: leaving it out would release keys to more than the policy accepts.
func release(pcrs map[string]string) (keypolicy.Release, error) {
	var r keypolicy.Release
	fields := map[string]*string{"0": &r.PCR0, "1": &r.PCR1, "2": &r.PCR2, "3": &r.PCR3, "4": &r.PCR4, "8": &r.PCR8, "16": &r.PCR16}
	for n, v := range pcrs {
		field, ok := fields[n]
		if !ok {
			return r, &exitError{exitUsage, fmt.Errorf("PCR%s isn't one of 0, 1, 2, 3, 4, 8 and 16", n)}
		}
		if *field = v; v == "" {
			return r, &exitError{exitUsage, fmt.Errorf("PCR%s is empty", n)}
		}
	}
	if err := r.Check(); err != nil {
		return r, &exitError{exitUsage, err}
	}
	return r, nil
}
