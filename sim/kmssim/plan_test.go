package kmssim_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/sim/kmssim"
)

func TestFaultPlan(t *testing.T) {
	plan, err := kmssim.ParseFaults("Decrypt=throttle/3, GenerateDataKey=drop,*=slow")
	if err != nil {
		t.Fatal(err)
	}
	var got []kmssim.Fault
	for range 4 {
		got = append(got, plan("Decrypt"))
	}
	if !slices.Equal(got, []kmssim.Fault{kmssim.Healthy, kmssim.Healthy, kmssim.Throttle, kmssim.Healthy}) || plan("GenerateDataKey") != kmssim.Drop || plan("Encrypt") != kmssim.Slow {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"", "Decrypt", "Decrypt=", "Decrypt=burn", "Burn=slow", "Decrypt=slow/0", "Decrypt=slow/x"} {
		if _, err := kmssim.ParseFaults(bad); err == nil {
			t.Errorf("%q is a plan", bad)
		}
	}
}

// TestLostAnswers drops, delays and repeats answers.
func TestLostAnswers(t *testing.T) {
	w := newWorld(t, func(c *kmssim.Config) { c.Delay = time.Millisecond })
	arn := w.bare("", "")
	first, _ := w.generate(host, arn, nil, nil)
	w.breakWith(kmssim.StaleBlob)
	second, code := w.generate(host, arn, nil, nil)
	if code != "" || !bytes.Equal(first.CiphertextBlob, second.CiphertextBlob) || bytes.Equal(first.Plaintext, second.Plaintext) {
		t.Errorf("stale: %q", code)
	}
	w.breakWith(kmssim.Slow)
	if _, code := w.generate(host, arn, nil, nil); code != "" {
		t.Errorf("slow: %q", code)
	}
	w.breakWith(kmssim.Drop)
	before := strings.Count(w.allEvents(), "\n")
	if _, err := w.as(host).GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256}); err == nil {
		t.Error("a dropped connection answered")
	}
	if after := strings.Count(w.allEvents(), "\n"); after != before+1 {
		t.Errorf("a dropped call left %d events", after-before)
	}
}
