/* Pre-copy migration A -> B under libvirt's v3 protocol, ownership in etcd.
 * -DNOPAUSED: without VIR_MIGRATE_PAUSED (libvirt starts the CPUs on B itself in Finish3)
 * -DPROMOTE : after A's death the coordinator lets the complete, paused copy on B go on
 * -DNOWAITDST: the coordinator restarts on C without waiting for B to have destroyed its copy */
mtype = { none_, act_, abrt_, done_ };
mtype mig = none_;
byte owner = 1, ncrash = 0;         /* 1 = A, 2 = B, 3 = C */
byte src = 1, dst = 0, new = 0;     /* src: 0 gone 1 running 2 paused for switchover; dst: 1 incoming 2 complete+paused 3 running */
bit A = 1, Bh = 1;                  /* host alive */
bit api = 0;                        /* what virDomainMigrate told A's agent: 1 = success */
bit fail = 0, ranafter = 0;
#ifdef NOWAITDST
#define DSTGONE true
#else
#define DSTGONE (dst==0)
#endif
#define RUNNING ((src==1) + (dst==3) + (new==1))
#define CHECK assert(RUNNING <= 1); assert(!(dst==3 && ranafter))
init { do
 :: d_step { A && Bh && owner==1 && mig==none_ -> mig=act_; dst=1 }
 :: d_step { src==1 && dst==1 && A && Bh && mig==act_ && !fail && !ranafter -> src=2 }          /* switchover */
 :: d_step { src==2 && dst==1 && Bh ->                                                             /* Finish3 runs on B */
#ifdef NOPAUSED
      dst=3; CHECK }
#else
      dst=2 }
#endif
 :: d_step { src==2 && dst>=2 && A -> src=0; api=1 }                                               /* Confirm3 ok */
 :: d_step { src==2 && A -> src=1; fail=1; ranafter=1; CHECK }                                     /* reply lost, B slow, libvirtd restart: libvirt resumes the source */
 :: d_step { src==1 && A && mig==act_ && !fail -> fail=1 }                                       /* pre-copy fails or is cancelled */
 :: d_step { dst==2 && Bh && owner!=2 -> dst=0 }                                                   /* libvirtd restart on B kills a finished, not running copy */
 /* A's agent */
 :: d_step { A && api && mig==act_ && owner==1 -> owner=2; mig=done_ }
 :: d_step { A && fail && mig==act_ && owner==1 -> mig=abrt_ }
 /* B's agent */
 :: d_step { Bh && owner==2 && dst==2 -> dst=3; CHECK }
 :: d_step { Bh && dst!=0 && owner!=2 && mig!=act_ -> dst=0 }
 /* hosts die (and are fenced before anything else is done_ for them) */
 :: d_step { A && ncrash<2 -> A=0; src=0; ncrash++ }
 :: d_step { Bh && ncrash<2 -> Bh=0; dst=0; ncrash++ }
 /* coordinator */
 :: d_step { owner==1 && mig==act_ && (!A || !Bh) -> 
#ifdef PROMOTE
      if :: !A && dst==2 -> owner=2; mig=done_ :: else -> mig=abrt_ fi }
#else
      mig=abrt_ }
#endif
 ::  d_step { owner==1 && !A && mig!=act_ && DSTGONE -> owner=3; new=1; CHECK }
 :: d_step { owner==2 && (!Bh || dst==0) -> owner=3; new=1; dst=0; CHECK }                          /* B dead, or its agent reports that the copy is gone */
 :: d_step { owner==1 && A && src==0 && mig==abrt_ && new==0 -> owner=3; new=1; CHECK }           /* A's agent reports: not running here */
 :: d_step { owner==1 && A && src==1 && mig==abrt_ && dst==0 -> mig=none_; fail=0; ranafter=0 }    /* ready for a new attempt */
 od }
