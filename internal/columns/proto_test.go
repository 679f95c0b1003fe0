package columns_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cloisterhq/cloister/internal/columns"
)

type protoType = descriptorpb.FieldDescriptorProto_Type

// protoField describes a field.
func protoField(name string, number int32, kind protoType, of string, repeated bool) *descriptorpb.FieldDescriptorProto {
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	if of != "" {
		f.TypeName = proto.String(".cloister.columns.v1." + of)
	}
	if repeated {
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	return f
}

// description is the message of docs/spec/columns.md.
func description(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	var kinds []*descriptorpb.EnumValueDescriptorProto
	for i, name := range []string{"KIND_NULL", "KIND_INT", "KIND_TEXT", "KIND_BOOL"} {
		kinds = append(kinds, &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(i))})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("columns.proto"), Package: proto.String("cloister.columns.v1"), Syntax: proto.String("proto3"),
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Kind"), Value: kinds}},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Batch"), Field: []*descriptorpb.FieldDescriptorProto{
				protoField("columns", 1, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, "Column", true),
			}},
			{Name: proto.String("Column"), Field: []*descriptorpb.FieldDescriptorProto{
				protoField("name", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, "", false),
				protoField("kind", 2, descriptorpb.FieldDescriptorProto_TYPE_ENUM, "Kind", false),
				protoField("present", 3, descriptorpb.FieldDescriptorProto_TYPE_BYTES, "", false),
				protoField("base", 4, descriptorpb.FieldDescriptorProto_TYPE_SFIXED64, "", false),
				protoField("texts", 5, descriptorpb.FieldDescriptorProto_TYPE_STRING, "", true),
				protoField("values", 6, descriptorpb.FieldDescriptorProto_TYPE_BYTES, "", false),
			}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestProtobufLibrary: a protobuf library reads the content, and writes the
// same bytes for what it read.
func TestProtobufLibrary(t *testing.T) {
	batch := description(t).Messages().ByName("Batch")
	for seed := range uint64(50) {
		all := newGenerator(seed).records(100)
		content := pack(t, all...)
		b, err := columns.DecodePacked(content, len(all))
		if err != nil {
			t.Fatal(err)
		}
		message := dynamicpb.NewMessage(batch)
		if err := (proto.UnmarshalOptions{}).Unmarshal(content, message); err != nil {
			t.Fatal(err)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		if err != nil || !bytes.Equal(again, content) {
			t.Fatalf("seed %d: the library writes other bytes (%v)", seed, err)
		}
		read := message.Get(batch.Fields().ByName("columns")).List()
		if read.Len() != b.Columns() {
			t.Fatalf("seed %d: the library finds %d columns instead of %d", seed, read.Len(), b.Columns())
		}
		for i := range read.Len() {
			m, c := read.Get(i).Message(), b.Column(i)
			get := func(name protoreflect.Name) protoreflect.Value { return m.Get(m.Descriptor().Fields().ByName(name)) }
			if len(m.GetUnknown()) != 0 || get("name").String() != c.Name || get("kind").Enum() != protoreflect.EnumNumber(c.Kind) || get("base").Int() != c.Min || get("texts").List().Len() != len(c.Dictionary) {
				t.Errorf("seed %d: the library finds another column %d", seed, i)
			}
		}
	}
}

// TestProtobufText: the specification has the message that the library read.
func TestProtobufText(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "columns.md"))
	if err != nil {
		t.Fatal(err)
	}
	file := description(t)
	var want []string
	for i := range file.Messages().Len() {
		fields := file.Messages().Get(i).Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			kind := f.Kind().String()
			if f.Message() != nil {
				kind = string(f.Message().Name())
			} else if f.Enum() != nil {
				kind = string(f.Enum().Name())
			}
			if f.IsList() {
				kind = "repeated " + kind
			}
			want = append(want, fmt.Sprintf("  %s %s = %d;", kind, f.Name(), f.Number()))
		}
	}
	values := file.Enums().Get(0).Values()
	for i := range values.Len() {
		want = append(want, fmt.Sprintf("  %s = %d;", values.Get(i).Name(), values.Get(i).Number()))
	}
	for _, line := range want {
		if strings.Count(string(page), "\n"+line) != 1 {
			t.Errorf("docs/spec/columns.md doesn't say %q", line)
		}
	}
}
