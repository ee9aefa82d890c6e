/* Bodies as kubectl 1.33 sends them for its imperative commands (captured from its connection), and
 * what the same command prints with --dry-run=client -o json, less nulls and empty structs. */
#pragma once
#include "base/str.h"

static const struct {
    sp_str body;
    const char *json;
} kubectl_bodies[] = {
    {SP_STR_INIT(
         "k8s\000\012\017\012\002v1\022\011Namespace\022\034\012\024\012\004demo\022\000\032"
         "\000\042\000*\0002\0008\000B\000\022\000\032\002\012\000\032\000\042\000"),
     "{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"demo\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\017\012\002v1\022\011ConfigMap\022R\012\023\012\003cm1\022\000\032\000"
         "\042\000*\0002\0008\000B\000\022\006\012\001a\022\0011\022\022\012\010file.txt\022"
         "\006hello\012\032\037\012\007bin.dat\022\024b\024\202\352\370\310\2300\3219N#\010"
         "\230\351\2015{\271\342\032\000\042\000"),
     "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"cm1\"},\"data\""
     ":{\"a\":\"1\",\"file.txt\":\"hello\\n\"},\"binaryData\":{\"bin.dat\":\"YhSC6vjImDDRO"
     "U4jCJjpgTV7ueI=\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\014\012\002v1\022\006Secret\022*\012\022\012\002s1\022\000\032\000\042"
         "\000*\0002\0008\000B\000\022\022\012\010password\022\006geheim\032\000\032\000\042"
         "\000"),
     "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"s1\"},\"data\":{\"p"
     "assword\":\"Z2VoZWlt\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\024\012\002v1\022\016ServiceAccount\022\027\012\025\012\005robot\022\000"
         "\032\000\042\000*\0002\0008\000B\000\032\000\042\000"),
     "{\"kind\":\"ServiceAccount\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"robot\"}"
     "}"},
    {SP_STR_INIT(
         "k8s\000\012\025\012\007apps/v1\022\012Deployment\022\275\001\012\037\012\003web\022"
         "\000\032\000\042\000*\0002\0008\000B\000Z\012\012\003app\022\003web\022\213\001\010"
         "\003\022\014\012\012\012\003app\022\003web\032q\012\034\012\000\022\000\032\000\042"
         "\000*\0002\0008\000B\000Z\012\012\003app\022\003web\022Q\0223\012\005nginx\022\012"
         "nginx:1.25*\0002\012\012\000\020\000\030P\042\000*\000B\000j\000r\000\200\001\000"
         "\210\001\000\220\001\000\242\001\000\032\0002\000B\000J\000R\000X\000`\000h\000\202"
         "\001\000\212\001\000\232\001\000\302\001\000\042\002\012\000(\0008\000\032\014\010"
         "\000\020\000\030\000 \000(\0008\000\032\000\042\000"),
     "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":\"web\",\""
     "labels\":{\"app\":\"web\"}},\"spec\":{\"replicas\":3,\"selector\":{\"matchLabels\":"
     "{\"app\":\"web\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":"
     "{\"containers\":[{\"name\":\"nginx\",\"image\":\"nginx:1.25\",\"ports\":[{\"contain"
     "erPort\":80}]}]}}}}"},
    {SP_STR_INIT(
         "k8s\000\012\025\012\007apps/v1\022\012Deployment\022\323\001\012\037\012\003two\022"
         "\000\032\000\042\000*\0002\0008\000B\000Z\012\012\003app\022\003two\022\241\001\010"
         "\001\022\014\012\012\012\003app\022\003two\032\206\001\012\034\012\000\022\000\032"
         "\000\042\000*\0002\0008\000B\000Z\012\012\003app\022\003two\022f\022\042\012\005n"
         "ginx\022\005nginx*\000B\000j\000r\000\200\001\000\210\001\000\220\001\000\242\001"
         "\000\022$\012\005redis\022\007redis:7*\000B\000j\000r\000\200\001\000\210\001\000"
         "\220\001\000\242\001\000\032\0002\000B\000J\000R\000X\000`\000h\000\202\001\000\212"
         "\001\000\232\001\000\302\001\000\042\002\012\000(\0008\000\032\014\010\000\020\000"
         "\030\000 \000(\0008\000\032\000\042\000"),
     "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":\"two\",\""
     "labels\":{\"app\":\"two\"}},\"spec\":{\"replicas\":1,\"selector\":{\"matchLabels\":"
     "{\"app\":\"two\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"two\"}},\"spec\":"
     "{\"containers\":[{\"name\":\"nginx\",\"image\":\"nginx\"},{\"name\":\"redis\",\"image"
     "\":\"redis:7\"}]}}}}"},
    {SP_STR_INIT(
         "k8s\000\012\015\012\002v1\022\007Service\022f\012\035\012\002c1\022\000\032\000\042"
         "\000*\0002\0008\000B\000Z\011\012\003app\022\002c1\022A\012\033\012\00780-8080\022"
         "\003TCP\030P\042\007\010\000\020\220\077\032\000(\000\022\011\012\003app\022\002c"
         "1\032\000\042\011ClusterIP:\000B\000R\000Z\000`\000h\000\032\002\012\000\032\000\042"
         "\000"),
     "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c1\",\"labels\":{"
     "\"app\":\"c1\"}},\"spec\":{\"ports\":[{\"name\":\"80-8080\",\"protocol\":\"TCP\",\"port"
     "\":80,\"targetPort\":8080}],\"selector\":{\"app\":\"c1\"},\"type\":\"ClusterIP\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\015\012\002v1\022\007Service\022j\012\035\012\002n1\022\000\032\000\042"
         "\000*\0002\0008\000B\000Z\011\012\003app\022\002n1\022E\012 \012\00780-http\022\003"
         "TCP\030P\042\012\010\001\020\000\032\004http(\200\353\001\022\011\012\003app\022\002"
         "n1\032\000\042\010NodePort:\000B\000R\000Z\000`\000h\000\032\002\012\000\032\000\042"
         "\000"),
     "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n1\",\"labels\":{"
     "\"app\":\"n1\"}},\"spec\":{\"ports\":[{\"name\":\"80-http\",\"protocol\":\"TCP\",\"port"
     "\":80,\"targetPort\":\"http\",\"nodePort\":30080}],\"selector\":{\"app\":\"n1\"},\"t"
     "ype\":\"NodePort\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\015\012\002v1\022\007Service\022W\012\035\012\002e1\022\000\032\000\042"
         "\000*\0002\0008\000B\000Z\011\012\003app\022\002e1\0222\022\011\012\003app\022\002"
         "e1\032\000\042\014ExternalName:\000B\000R\013example.orgZ\000`\000h\000\032\002\012"
         "\000\032\000\042\000"),
     "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"e1\",\"labels\":{"
     "\"app\":\"e1\"}},\"spec\":{\"selector\":{\"app\":\"e1\"},\"type\":\"ExternalName\",\"ex"
     "ternalName\":\"example.org\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\015\012\002v1\022\007Service\022f\012\035\012\002l1\022\000\032\000\042"
         "\000*\0002\0008\000B\000Z\011\012\003app\022\002l1\022A\012\030\012\003443\022\003"
         "TCP\030\273\003\042\007\010\000\020\273\003\032\000(\000\022\011\012\003app\022\002"
         "l1\032\000\042\014LoadBalancer:\000B\000R\000Z\000`\000h\000\032\002\012\000\032\000"
         "\042\000"),
     "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"l1\",\"labels\":{"
     "\"app\":\"l1\"}},\"spec\":{\"ports\":[{\"name\":\"443\",\"protocol\":\"TCP\",\"port\":44"
     "3,\"targetPort\":443}],\"selector\":{\"app\":\"l1\"},\"type\":\"LoadBalancer\"}}"},
    {SP_STR_INIT(
         "k8s\000\012\037\012\024networking.k8s.io/v1\022\007Ingress\022e\012\022\012\002i1"
         "\022\000\032\000\042\000*\0002\0008\000B\000\022K\022\022\012\007foo.com\022\007m"
         "y-cert\032.\012\007foo.com\022#\012!\012\037\012\004/bar\022\017\042\015\012\004s"
         "vc1\022\005\012\000\020\220\077\032\006Prefix\042\005nginx\032\002\012\000\032\000"
         "\042\000"),
     "{\"kind\":\"Ingress\",\"apiVersion\":\"networking.k8s.io/v1\",\"metadata\":{\"nam"
     "e\":\"i1\"},\"spec\":{\"ingressClassName\":\"nginx\",\"tls\":[{\"hosts\":[\"foo.com\""
     "],\"secretName\":\"my-cert\"}],\"rules\":[{\"host\":\"foo.com\",\"http\":{\"paths\":"
     "[{\"path\":\"/bar\",\"pathType\":\"Prefix\",\"backend\":{\"service\":{\"name\":\"svc1"
     "\",\"port\":{\"number\":8080}}}}]}}]}}"},
    {SP_STR_INIT(
         "k8s\000\012\014\012\002v1\022\006Secret\022\210\001\012\022\012\002r1\022\000\032"
         "\000\042\000*\0002\0008\000B\000\022R\012\021.dockerconfigjson\022={\042auths\042"
         ":{\042x\042:{\042username\042:\042u\042,\042password\042:\042p\042,\042auth\042:\042"
         "dTpw\042}}}\032\036kubernetes.io/dockerconfigjson\032\000\042\000"),
     "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"r1\"},\"data\":{\"."
     "dockerconfigjson\":\"eyJhdXRocyI6eyJ4Ijp7InVzZXJuYW1lIjoidSIsInBhc3N3b3J"
     "kIjoicCIsImF1dGgiOiJkVHB3In19fQ==\"},\"type\":\"kubernetes.io/dockerconfig"
     "json\"}"},
};
